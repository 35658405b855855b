//! The definition of Q5_0's bytes.

use super::{Block, GROUP};
use crate::num::f16_to_f32;
use crate::quant::fault::{Fault, extreme, scale_to_f16};
use crate::quant::nibbles;
use crate::quant::search::symmetric;
use crate::quant::weighted::{self, mean_square};

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        *block = quantize_block(weights).map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

fn quantize_block(weights: &[f32; GROUP]) -> Result<Block, Fault> {
    let scale = extreme(weights)? / -16.0; // −0 where all weights are ±0, as in ggml
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    let stored = scale_to_f16(scale)?;
    // A scale under 2^-128 has no finite inverse; C leaves what follows undefined, and ggml on x86-64 writes zeros.
    let level = |w: f32| if inverse.is_finite() { ((w * inverse + 16.5) as u8).min(31) } else { 0 };
    let levels = weights.map(level);
    Ok(Block { scale: stored.to_le_bytes(), fifth: nibbles::fifth_bits(&levels), levels: nibbles::pack(&levels) })
}

pub(in crate::quant) fn quantize_weighted(rows: &[f32], importance: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    weighted::for_each(rows, importance, blocks, mean_square, weighted_block)
}

pub(super) fn weighted_block(weights: &[f32; GROUP], importance: &[f32; GROUP], spread: f32) -> Result<Block, Fault> {
    let mut levels = [0; GROUP];
    let scale = symmetric(16, weights, &weighted::counts(weights, importance, spread), &mut levels)?;
    Ok(Block {
        scale: scale_to_f16(scale)?.to_le_bytes(),
        fifth: nibbles::fifth_bits(&levels),
        levels: nibbles::pack(&levels),
    })
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        let levels = nibbles::unpack_with_fifth(&block.levels, block.fifth);
        *weights = levels.map(|level| f32::from(level as i8 - 16) * scale);
    }
}
