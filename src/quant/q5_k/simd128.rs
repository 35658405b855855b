//! Q5_K in SIMD128: the search is that of [`affine32`].

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
        let high = block.high.as_chunks::<16>().0;
        for (s, (w, sub)) in weights.as_chunks_mut::<32>().0.iter_mut().zip(subs).enumerate() {
            let low = block.low.as_chunks::<32>().0[s / 2].as_chunks::<16>().0;
            for (i, w) in w.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let low = load_bytes(&low[i]);
                let low = if s % 2 == 0 { v128_and(low, u8x16_splat(15)) } else { u8x16_shr(low, 4) };
                let high = v128_and(u8x16_shr(load_bytes(&high[i]), s as u32), u8x16_splat(1));
                restore(v128_or(low, u8x16_shl(high, 4)), sub, w);
            }
        }
    }
}
