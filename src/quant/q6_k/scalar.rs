//! The definition of Q6_K's bytes.

use super::{Block, GROUP, SUB};
use crate::num::{f16_to_f32, round_half_even};
use crate::quant::fault::{Fault, extreme, scale_to_f16};
use bytemuck::Zeroable;

/// Scales (and whole blocks) below this count as zero.
pub(super) const TINY: f32 = 1e-15;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        *block = quantize_block(weights).map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

pub(super) fn quantize_block(weights: &[f32; GROUP]) -> Result<Block, Fault> {
    let mut levels = [0u8; GROUP];
    let mut scales = [0f32; GROUP / SUB];
    let subs = weights.as_chunks::<SUB>().0;
    for (i, (sub, levels)) in subs.iter().zip(levels.as_chunks_mut().0).enumerate() {
        scales[i] = search(sub, levels).map_err(|fault| fault.after(i * SUB))?;
    }
    // A scale that is not finite comes of weights whose cubes are not.
    let extreme = extreme(&scales).map_err(|_| Fault::Overflow(0))?;
    if extreme.abs() < TINY {
        return Ok(Block::zeroed());
    }

    let mut block = Block::zeroed();
    let inverse = -128.0 / extreme;
    let stored = scale_to_f16(1.0 / inverse)?;
    block.scale = stored.to_le_bytes();
    for (byte, scale) in block.scales.iter_mut().zip(scales) {
        // −128 … 128 before the bound
        *byte = round_half_even(inverse * scale).min(127.0) as i8;
    }
    for ((sub, levels), byte) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).zip(block.scales) {
        let scale = f16_to_f32(stored) * f32::from(byte);
        if scale == 0.0 {
            continue; // the search's levels stay: they decode to zero, but they are what ggml writes
        }
        for (level, w) in levels.iter_mut().zip(sub) {
            *level = (clamp_level(round_half_even(w / scale)) + 32.0) as u8;
        }
    }
    pack(&levels, &mut block);
    Ok(block)
}

/// Tries 19 scales for a sub-block: the best one, and its levels (32 added).
fn search(weights: &[f32; SUB], levels: &mut [u8; SUB]) -> Result<f32, Fault> {
    let extreme = extreme(weights)?;
    if extreme.abs() < TINY {
        *levels = [0; SUB];
        return Ok(0.0);
    }

    // Σ w²·w·l and Σ w²·l²: their quotient is the best scale for the levels l, their squares' quotient its worth.
    let sums = |inverse: f32| {
        let (mut wl, mut ll) = (0.0f32, 0.0f32);
        for &w in weights {
            let l = clamp_level(round_half_even(inverse * w));
            wl += w * w * w * l;
            ll += w * w * l * l;
        }
        (wl, ll)
    };
    let mut best_inverse = -32.0 / extreme;
    let (wl, ll) = sums(best_inverse);
    let mut scale = if ll != 0.0 { wl / ll } else { 0.0 };
    let mut worth = scale * wl;
    for step in (-9..=9).filter(|&step| step != 0) {
        let inverse = -(32.0 + 0.1 * step as f32) / extreme;
        let (wl, ll) = sums(inverse);
        if ll > 0.0 && wl * wl > worth * ll {
            scale = wl / ll;
            worth = scale * wl;
            best_inverse = inverse;
        }
    }
    for (level, w) in levels.iter_mut().zip(weights) {
        *level = (clamp_level(round_half_even(best_inverse * w)) + 32.0) as u8;
    }
    Ok(scale)
}

fn clamp_level(level: f32) -> f32 {
    level.clamp(-32.0, 31.0)
}

fn pack(levels: &[u8; GROUP], block: &mut Block) {
    let halves = levels.as_chunks::<128>().0.iter();
    for ((q, low), high) in halves.zip(block.low.as_chunks_mut::<64>().0).zip(block.high.as_chunks_mut::<32>().0) {
        for l in 0..32 {
            low[l] = q[l] & 15 | (q[l + 64] & 15) << 4;
            low[l + 32] = q[l + 32] & 15 | (q[l + 96] & 15) << 4;
            high[l] = q[l] >> 4 | (q[l + 32] >> 4) << 2 | (q[l + 64] >> 4) << 4 | (q[l + 96] >> 4) << 6;
        }
    }
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        let halves = weights.as_chunks_mut::<128>().0.iter_mut();
        let planes = block.low.as_chunks::<64>().0.iter().zip(block.high.as_chunks::<32>().0);
        for ((w, (low, high)), scales) in halves.zip(planes).zip(block.scales.as_chunks::<8>().0) {
            for i in 0..128 {
                let (quarter, l) = (i / 32, i % 32);
                let bits = low[i % 64] >> (4 * (quarter / 2)) & 15 | (high[l] >> (2 * quarter) & 3) << 4;
                w[i] = scale * f32::from(scales[i / SUB]) * f32::from(bits as i8 - 32);
            }
        }
    }
}
