//! The definition of Q4_0's bytes.

use super::{Block, GROUP};
use crate::num::f16_to_f32;
use crate::quant::fault::{Fault, extreme, scale_to_f16};

const HALF: usize = GROUP / 2;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        *block = quantize_block(weights).map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

fn quantize_block(weights: &[f32; GROUP]) -> Result<Block, Fault> {
    let scale = extreme(weights)? / -8.0; // −0 where all weights are ±0, as in ggml
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    let stored = scale_to_f16(scale)?;
    let mut levels = [0u8; HALF];
    // A scale under 2^-128 has no finite inverse; C leaves what follows undefined, and ggml on x86-64 writes zeros.
    if inverse.is_finite() {
        let level = |w: f32| ((w * inverse + 8.5) as u8).min(15);
        for (i, byte) in levels.iter_mut().enumerate() {
            *byte = level(weights[i]) | level(weights[i + HALF]) << 4;
        }
    }
    Ok(Block { scale: stored.to_le_bytes(), levels })
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        for (i, byte) in block.levels.iter().enumerate() {
            weights[i] = f32::from((byte & 15) as i8 - 8) * scale;
            weights[i + HALF] = f32::from((byte >> 4) as i8 - 8) * scale;
        }
    }
}
