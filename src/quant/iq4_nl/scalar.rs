//! The definition of IQ4_NL's bytes, and of the search that it shares with IQ4_XS.

use super::{Block, GROUP, VALUES};
use crate::num::f16_to_f32;
use crate::quant::fault::{Fault, extreme, scale_to_f16};
use crate::quant::nibbles;
use crate::quant::search::TINY;
use crate::quant::super_block::sum_of_squares;
use crate::quant::weighted;

/// Tries on each side of the plain scale.
pub(super) const TRIES: i32 = 7;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        let found = quantize_block(weights, &weights.map(|w| w * w));
        *block = found.map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

pub(in crate::quant) fn quantize_weighted(rows: &[f32], importance: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    weighted::for_each(rows, importance, blocks, |_| Ok(()), weighted_block)
}

pub(super) fn weighted_block(weights: &[f32; GROUP], importance: &[f32; GROUP], _: ()) -> Result<Block, Fault> {
    let spread = sum_of_squares(weights) * (2.0 / GROUP as f32);
    quantize_block(weights, &weighted::counts(weights, importance, spread))
}

fn quantize_block(weights: &[f32; GROUP], counts: &[f32; GROUP]) -> Result<Block, Fault> {
    let scale = search(weights, counts)?;
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    let stored = scale_to_f16(scale)?;
    Ok(Block { scale: stored.to_le_bytes(), levels: nibbles::pack(&weights.map(|w| level(inverse * w))) })
}

/// The scale whose levels are least wrong, errors counting by `counts`. Not finite where the sums overflow.
pub(in crate::quant) fn search(weights: &[f32; GROUP], counts: &[f32; GROUP]) -> Result<f32, Fault> {
    let extreme = extreme(weights)?;
    if extreme.abs() < TINY {
        return Ok(0.0);
    }
    // Σ c·v·w and Σ c·v² for the levels' values v: their quotient is the best scale for these levels.
    let sums = |inverse: f32| {
        let (mut vw, mut vv) = (0.0f32, 0.0f32);
        for (&w, &count) in weights.iter().zip(counts) {
            let value = f32::from(VALUES[usize::from(level(inverse * w))]);
            vw += count * value * w;
            vv += count * value * value;
        }
        (vw, vv)
    };
    let first = f32::from(VALUES[0]);
    let (vw, vv) = sums(1.0 / (-extreme / first));
    let mut scale = if vv > 0.0 { vw / vv } else { 0.0 };
    let mut worth = scale * vw;
    for step in -TRIES..=TRIES {
        let (vw, vv) = sums((step as f32 + first) / extreme);
        if vv > 0.0 && vw * vw > worth * vv {
            scale = vw / vv;
            worth = scale * vw;
        }
    }
    Ok(scale)
}

/// The level whose value is nearest to x, the higher one of two that are equally near; 15 for NaN.
pub(in crate::quant) fn level(x: f32) -> u8 {
    if x <= f32::from(VALUES[0]) {
        return 0;
    }
    let above = VALUES.iter().position(|&value| x < f32::from(value)).unwrap_or(16);
    if above == 16 && !x.is_nan() {
        return 15;
    }
    let above = above.min(15);
    let (low, high) = (f32::from(VALUES[above - 1]), f32::from(VALUES[above]));
    if x - low < high - x { above as u8 - 1 } else { above as u8 }
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        *weights = nibbles::unpack(&block.levels).map(|level| scale * f32::from(VALUES[usize::from(level)]));
    }
}
