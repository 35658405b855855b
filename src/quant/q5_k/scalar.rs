//! The definition of Q5_K's bytes.

use super::{Block, KIND};
use crate::quant::affine32::scalar as affine32;
use crate::quant::fault::Fault;
use crate::quant::super_block::{GROUP, for_each};

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        let mut levels = [0; GROUP];
        block.head = affine32::quantize(&KIND, weights, importance, &mut levels)?;
        pack(&levels, block);
        Ok(())
    })
}

pub(super) fn pack(levels: &[u8; GROUP], block: &mut Block) {
    for (q, bytes) in levels.as_chunks::<64>().0.iter().zip(block.low.as_chunks_mut::<32>().0) {
        for (l, byte) in bytes.iter_mut().enumerate() {
            *byte = q[l] & 15 | q[l + 32] << 4;
        }
    }
    for (l, byte) in block.high.iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, s| bits | levels[32 * s + l] >> 4 << s);
    }
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let subs = affine32::read(&block.head);
        for (i, w) in weights.iter_mut().enumerate() {
            let (scale, min) = subs[i / 32];
            let low = block.low[i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 15;
            let high = block.high[i % 32] >> (i / 32) & 1;
            *w = scale * f32::from(low | high << 4) - min;
        }
    }
}
