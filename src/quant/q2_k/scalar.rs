//! The definition of Q2_K's bytes.

use super::{Block, SUB, SUBS, TRIES, TRIES_WITH_IMPORTANCE};
use crate::num::{f16_to_f32, nearest_int};
use crate::quant::fault::Fault;
use crate::quant::search::{Affine, affine, positive};
use crate::quant::super_block::{
    GROUP, Stored, affine_levels, check_finite, for_each, pack_pairs, pair, sum_of_squares, weigh,
};

/// The highest of the four-bit scales and minimums.
const TOP: i32 = 15;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, quantize_block)
}

pub(super) fn quantize_block(
    weights: &[f32; GROUP],
    importance: Option<&[f32; GROUP]>,
    block: &mut Block,
) -> Result<(), Fault> {
    check_finite(weights)?;
    let mut levels = [0u8; GROUP];
    let (mut fits, mut worth) = ([Affine { scale: 0.0, min: 0.0 }; SUBS], [0.0; SUBS]);
    let spread = spread(weights);
    let subs = weights.as_chunks::<SUB>().0;
    for (s, (sub, levels)) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).enumerate() {
        let importance = importance.map(|importance| &importance.as_chunks().0[s]);
        (fits[s], worth[s]) = search(spread, sub, importance, levels);
    }
    quantize_scales(&fits, importance.is_some().then_some(&worth), block)?;
    for ((sub, levels), (scale, min)) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).zip(read(block)) {
        if scale != 0.0 {
            affine_levels(TRIES.top, scale, min, sub, levels);
        } // else the search's levels stay: they decode to the minimum, but they are what ggml writes
    }
    pack_pairs(&levels, &mut block.levels);
    Ok(())
}

/// What importance is multiplied by, of a weight of 0: mean w².
pub(super) fn spread(weights: &[f32; GROUP]) -> f32 {
    sum_of_squares(weights) / GROUP as f32
}

/// The best scale and minimum of a sub-block, their levels, and what the sub-block counts for.
pub(super) fn search(
    spread: f32,
    sub: &[f32; SUB],
    importance: Option<&[f32; SUB]>,
    levels: &mut [u8; SUB],
) -> (Affine, f32) {
    let mut error_weights = sub.map(f32::abs);
    let tries = if let Some(importance) = importance {
        weigh(spread, sub, importance, &mut error_weights);
        &TRIES_WITH_IMPORTANCE
    } else {
        &TRIES
    };
    (affine(tries, sub, &error_weights, levels), error_weights.iter().sum())
}

/// Quantizes the scales and minimums themselves; `worth`: what each sub-block counts for, where importance is given.
pub(super) fn quantize_scales(
    fits: &[Affine; SUBS],
    worth: Option<&[f32; SUBS]>,
    block: &mut Block,
) -> Result<(), Fault> {
    let (scales, mins) = (fits.map(|fit| fit.scale), fits.map(|fit| fit.min));
    let mut levels = [[0u8; SUBS]; 2];
    let mut stored = [[0u8; 2]; 2];
    for ((numbers, levels), stored) in [scales, mins].iter().zip(&mut levels).zip(&mut stored) {
        let step = if let Some(worth) = worth {
            if !worth.iter().all(|worth| worth.is_finite()) {
                return Err(Fault::Overflow(0)); // ggml writes zeros for such a block
            }
            positive(TOP, numbers, worth, levels)
        } else {
            let largest = numbers.iter().fold(0.0f32, |largest, &x| if x > largest { x } else { largest });
            if largest > 0.0 {
                let inverse = TOP as f32 / largest;
                *levels = numbers.map(|x| nearest_int(inverse * x) as u8);
            }
            largest / TOP as f32
        };
        *stored = Stored::new(step)?.bytes;
    }
    [block.scale, block.min] = stored;
    for ((byte, s), m) in block.scales.iter_mut().zip(levels[0]).zip(levels[1]) {
        *byte = s | m << 4;
    }
    Ok(())
}

/// Scale and minimum of each sub-block.
pub(super) fn read(block: &Block) -> [(f32, f32); SUBS] {
    let (scale, min) = (f16_to_f32(u16::from_le_bytes(block.scale)), f16_to_f32(u16::from_le_bytes(block.min)));
    block.scales.map(|byte| (scale * f32::from(byte & 15), min * f32::from(byte >> 4)))
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let subs = read(block);
        for (i, w) in weights.iter_mut().enumerate() {
            let (scale, min) = subs[i / SUB];
            *w = scale * f32::from(pair(&block.levels, i)) - min;
        }
    }
}
