//! The definition of Q8_0's bytes.

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
    let scale = magnitude(weights)? / 127.0;
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    let stored = scale_to_f16(scale)?;
    let mut levels = [0i8; GROUP];
    // A scale under 2^-128 has no finite inverse; C leaves what follows undefined, and ggml on x86-64 writes zeros.
    if inverse.is_finite() {
        for (level, w) in levels.iter_mut().zip(weights) {
            *level = round_half_away(w * inverse) as i8;
        }
    }
    Ok(Block { scale: stored.to_le_bytes(), levels })
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        for (w, level) in weights.iter_mut().zip(block.levels) {
            *w = f32::from(level) * scale;
        }
    }
}
