//! Q4_K in SIMD128: the search is that of [`affine32`].

use super::{Block, KIND, scalar};
use crate::quant::affine32::scalar::read;
use crate::quant::affine32::simd128 as affine32;
use crate::quant::fault::Fault;
use crate::quant::simd128::load_bytes;
use crate::quant::super_block::simd128::restore;
use crate::quant::super_block::{GROUP, for_each};
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        let mut levels = [0; GROUP];
        block.head = affine32::quantize(&KIND, weights, importance, &mut levels)?;
        scalar::pack(&levels, block);
        Ok(())
    })
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let subs = read(&block.head);
        let groups = weights.as_chunks_mut::<64>().0.iter_mut().zip(block.levels.as_chunks::<32>().0);
        for ((w, levels), subs) in groups.zip(subs.as_chunks::<2>().0) {
            let (w, levels) = (w.as_chunks_mut::<16>().0, levels.as_chunks::<16>().0);
            for i in 0..2 {
                let bytes = load_bytes(&levels[i]);
                restore(v128_and(bytes, u8x16_splat(15)), subs[0], &mut w[i]);
                restore(u8x16_shr(bytes, 4), subs[1], &mut w[i + 2]);
            }
        }
    }
}
