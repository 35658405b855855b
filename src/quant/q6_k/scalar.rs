//! The definition of Q6_K's bytes.

use super::{Block, GROUP, SUB};
use crate::num::{f16_to_f32, round_half_even};
use crate::quant::fault::{Fault, extreme};
use crate::quant::search::{TINY, symmetric};
use crate::quant::super_block::{Stored, for_each, symmetric_levels};
use bytemuck::Zeroable;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, quantize_block)
}

pub(super) fn quantize_block(
    weights: &[f32; GROUP],
    importance: Option<&[f32; GROUP]>,
    block: &mut Block,
) -> Result<(), Fault> {
    *block = Block::zeroed();
    let mut levels = [0u8; GROUP];
    let mut scales = [0f32; GROUP / SUB];
    let subs = weights.as_chunks::<SUB>().0;
    for (i, (sub, levels)) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).enumerate() {
        let squares = sub.map(|w| w * w);
        let error_weights = importance.map_or(&squares[..], |importance| &importance[i * SUB..][..SUB]);
        scales[i] = symmetric(32, sub, error_weights, levels).map_err(|fault| fault.after(i * SUB))?;
    }
    // A scale that is not finite comes of weights whose cubes are not.
    let extreme = extreme(&scales).map_err(|_| Fault::Overflow(0))?;
    if extreme.abs() < TINY {
        return Ok(());
    }

    let inverse = -128.0 / extreme;
    let stored = Stored::new(1.0 / inverse)?;
    block.scale = stored.bytes;
    for (byte, scale) in block.scales.iter_mut().zip(scales) {
        // −128 … 128 before the bound
        *byte = round_half_even(inverse * scale).min(127.0) as i8;
    }
    for ((sub, levels), byte) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).zip(block.scales) {
        let scale = stored.value * f32::from(byte);
        if scale != 0.0 {
            symmetric_levels(32, scale, sub, levels);
        } // else the search's levels stay: they decode to zero, but they are what ggml writes
    }
    pack(&levels, block);
    Ok(())
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
