//! The definition of Q3_K's bytes.

use super::{Block, SUB, SUBS, pack_scales, unpack_scales};
use crate::num::{f16_to_f32, nearest_int};
use crate::quant::fault::{Fault, extreme};
use crate::quant::search::{TINY, symmetric};
use crate::quant::super_block::{
    GROUP, Stored, check_finite, for_each, pack_pairs, pair, sum_of_squares, symmetric_levels, weigh,
};

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
    let (mut scales, mut worth) = ([0.0; SUBS], [0.0; SUBS]);
    let spread = spread(weights);
    let subs = weights.as_chunks::<SUB>().0;
    for (s, (sub, levels)) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).enumerate() {
        let importance = importance.map(|importance| &importance.as_chunks().0[s]);
        (scales[s], worth[s]) = search(spread, sub, importance, levels)?;
    }
    quantize_scales(&scales, importance.is_some().then_some(&worth), block)?;
    let scale = f16_to_f32(u16::from_le_bytes(block.scale));
    for ((sub, levels), s) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).zip(unpack_scales(&block.scales)) {
        let scale = scale * f32::from(s);
        if scale != 0.0 {
            symmetric_levels(4, scale, sub, levels);
        } // else the search's levels stay: they decode to zero, but they are what ggml writes
    }
    pack(&levels, block);
    Ok(())
}

/// What importance is multiplied by, of a weight of 0: 2 · mean w².
pub(super) fn spread(weights: &[f32; GROUP]) -> f32 {
    2.0 * sum_of_squares(weights) / GROUP as f32
}

/// The best scale of a sub-block, its levels, and what the sub-block counts for.
pub(super) fn search(
    spread: f32,
    sub: &[f32; SUB],
    importance: Option<&[f32; SUB]>,
    levels: &mut [u8; SUB],
) -> Result<(f32, f32), Fault> {
    let Some(importance) = importance else { return Ok((descend(sub, levels), 0.0)) };
    let mut error_weights = [0.0; SUB];
    weigh(spread, sub, importance, &mut error_weights);
    Ok((symmetric(4, sub, &error_weights, levels)?, error_weights.iter().sum()))
}

/// Quantizes the scales themselves; `worth`: what each sub-block counts for, where importance is given.
pub(super) fn quantize_scales(
    scales: &[f32; SUBS],
    worth: Option<&[f32; SUBS]>,
    block: &mut Block,
) -> Result<(), Fault> {
    // A scale that is not finite comes of weights whose cubes are not.
    let extreme = extreme(scales).map_err(|_| Fault::Overflow(0))?;
    let mut levels = [0u8; SUBS];
    let step = if let Some(worth) = worth {
        if !worth.iter().all(|worth| worth.is_finite()) {
            return Err(Fault::Overflow(0)); // ggml writes a NaN
        }
        symmetric(32, scales, worth, &mut levels)?
    } else if extreme != 0.0 {
        let inverse = -32.0 / extreme;
        levels = scales.map(|scale| (i32::from(nearest_int(inverse * scale) as i8).clamp(-32, 31) + 32) as u8);
        1.0 / inverse
    } else {
        0.0
    };
    block.scale = Stored::new(step)?.bytes;
    block.scales = pack_scales(&levels);
    Ok(())
}

/// From the levels (4 added) of scale −m / 4 on, moves one level after the other while that lowers Σ w²·error², five
/// rounds at most. The scale of the last levels.
fn descend(weights: &[f32; SUB], levels: &mut [u8; SUB]) -> f32 {
    let extreme = extreme(weights).expect("weights are finite");
    if extreme.abs() < TINY {
        *levels = [0; SUB];
        return 0.0;
    }
    let inverse = -4.0 / extreme;
    let mut signed = weights.map(|w| nearest_int(inverse * w).clamp(-4, 3));
    let (mut wl, mut ll) = (0.0f32, 0.0f32);
    for (w, l) in weights.iter().zip(signed) {
        wl += w * w * w * l as f32;
        ll += w * w * l as f32 * l as f32;
    }
    for _ in 0..5 {
        let mut changed = false;
        for (w, level) in weights.iter().zip(&mut signed) {
            let l = *level as f32;
            let others_wl = wl - w * w * w * l;
            if others_wl > 0.0 {
                let others_ll = ll - w * w * l * l;
                let new = nearest_int(w * others_ll / others_wl).clamp(-4, 3);
                if new != *level {
                    let new_wl = others_wl + w * w * w * new as f32;
                    let new_ll = others_ll + w * w * new as f32 * new as f32;
                    if new_ll > 0.0 && new_wl * new_wl * ll > wl * wl * new_ll {
                        (*level, wl, ll, changed) = (new, new_wl, new_ll, true);
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    *levels = signed.map(|l| (l + 4) as u8);
    if ll > 0.0 { wl / ll } else { 0.0 }
}

pub(super) fn pack(levels: &[u8; GROUP], block: &mut Block) {
    pack_pairs(levels, &mut block.low);
    for (l, byte) in block.high.iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, s| bits | levels[32 * s + l] >> 2 << s);
    }
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        let scales = unpack_scales(&block.scales);
        for (i, w) in weights.iter_mut().enumerate() {
            let level = pair(&block.low, i) | (block.high[i % 32] >> (i / 32) & 1) << 2;
            *w = scale * f32::from(scales[i / SUB]) * f32::from(level as i8 - 4);
        }
    }
}
