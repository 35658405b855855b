//! The definition of IQ4_XS' bytes.

use super::{Block, GROUP, SUB, SUBS};
use crate::num::{f16_to_f32, round_half_even};
use crate::quant::fault::{Fault, extreme, scale_to_f16};
use crate::quant::iq4_nl::VALUES;
use crate::quant::iq4_nl::scalar::{level, search};
use crate::quant::nibbles;
use crate::quant::super_block::{for_each, sum_of_squares, weigh};
use bytemuck::Zeroable;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, None, blocks, quantize_block)
}

pub(in crate::quant) fn quantize_weighted(rows: &[f32], importance: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, Some(importance), blocks, quantize_block)
}

pub(super) fn quantize_block(
    weights: &[f32; GROUP],
    importance: Option<&[f32; GROUP]>,
    block: &mut Block,
) -> Result<(), Fault> {
    let mut counts = weights.map(|w| w * w);
    if let Some(importance) = importance {
        weigh(spread(weights), weights, importance, &mut counts);
    }
    let mut scales = [0f32; SUBS];
    let subs = weights.as_chunks::<SUB>().0;
    for (i, ((sub, counts), scale)) in subs.iter().zip(counts.as_chunks().0).zip(&mut scales).enumerate() {
        *scale = search(sub, counts).map_err(|fault| fault.after(i * SUB))?;
    }
    *block = Block::zeroed();
    let steps = store_scales(&scales, block)?;
    for ((sub, levels), step) in subs.iter().zip(&mut block.levels).zip(steps) {
        let inverse = if step != 0.0 { 1.0 / step } else { 0.0 };
        *levels = nibbles::pack(&sub.map(|w| level(inverse * w)));
    }
    Ok(())
}

/// What errors count for besides w²: twice the block's mean square.
pub(super) fn spread(weights: &[f32; GROUP]) -> f32 {
    sum_of_squares(weights) * (2.0 / GROUP as f32)
}

/// Stores the scales that were found; the scale that each sub-block has in effect.
pub(super) fn store_scales(scales: &[f32; SUBS], block: &mut Block) -> Result<[f32; SUBS], Fault> {
    // A scale that is not finite comes of weights whose cubes are not.
    let scale = -extreme(scales).map_err(|_| Fault::Overflow(0))? / 32.0;
    block.scale = scale_to_f16(scale)?.to_le_bytes();
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    let mut high = 0u16;
    let mut steps = [0f32; SUBS];
    for (b, step) in steps.iter_mut().enumerate() {
        let s = round_half_even(inverse * scales[b]).clamp(-32.0, 31.0);
        *step = scale * s;
        let bits = (s + 32.0) as u8;
        block.low[b / 2] |= (bits & 15) << (4 * (b % 2));
        high |= u16::from(bits >> 4) << (2 * b);
    }
    block.high = high.to_le_bytes();
    Ok(steps)
}

/// scale · (s − 32) of each sub-block, as it is stored.
pub(super) fn stored_scales(block: &Block) -> [f32; SUBS] {
    let scale = f16_to_f32(u16::from_le_bytes(block.scale));
    let high = u16::from_le_bytes(block.high);
    std::array::from_fn(|b| {
        let s = block.low[b / 2] >> (4 * (b % 2)) & 15 | ((high >> (2 * b) & 3) as u8) << 4;
        scale * f32::from(s as i8 - 32)
    })
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let subs = weights.as_chunks_mut::<SUB>().0.iter_mut().zip(&block.levels);
        for ((sub, levels), scale) in subs.zip(stored_scales(block)) {
            *sub = nibbles::unpack(levels).map(|level| scale * f32::from(VALUES[usize::from(level)]));
        }
    }
}
