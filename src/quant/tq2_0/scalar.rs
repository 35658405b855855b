//! The definition of TQ2_0's bytes, and of the levels that it shares with TQ1_0.

use super::{Block, GROUP};
use crate::num::{f16_to_f32, round_half_away};
use crate::quant::fault::{Fault, magnitude, scale_to_f16};

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        *block = quantize_block(weights).map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

fn quantize_block(weights: &[f32; GROUP]) -> Result<Block, Fault> {
    let scale = magnitude(weights)?;
    let stored = scale_to_f16(scale)?;
    let trits = trits(weights, scale);
    let mut levels = [0; GROUP / 4];
    for (q, bytes) in trits.as_chunks::<128>().0.iter().zip(levels.as_chunks_mut::<32>().0) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            *byte = q[l] | q[l + 32] << 2 | q[l + 64] << 4 | q[l + 96] << 6;
        }
    }
    Ok(Block { levels, scale: stored.to_le_bytes() })
}

/// The nearest of −1, 0 and 1 times `scale` to each weight, as 0, 1 and 2. `scale` is the largest magnitude.
pub(in crate::quant) fn trits(weights: &[f32; GROUP], scale: f32) -> [u8; GROUP] {
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    // A scale under 2^-128 has no finite inverse; C leaves what follows undefined, and ggml on x86-64 writes level 1.
    weights.map(|w| if inverse.is_finite() { (round_half_away(w * inverse) + 1.0) as u8 } else { 1 })
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        for (bytes, weights) in block.levels.as_chunks::<32>().0.iter().zip(weights.as_chunks_mut::<128>().0) {
            for (i, w) in weights.iter_mut().enumerate() {
                let level = bytes[i % 32] >> (i / 32 * 2) & 3;
                *w = f32::from(level as i8 - 1) * scale;
            }
        }
    }
}
