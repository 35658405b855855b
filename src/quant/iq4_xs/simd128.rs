//! IQ4_XS in SIMD128: IQ4_NL's search for four sub-blocks at once.

use super::scalar::{self, store_scales, stored_scales};
use super::{Block, GROUP, SUB, SUBS};
use crate::quant::fault::Fault;
use crate::quant::iq4_nl::simd128::{restore, search, store_levels};
use crate::quant::search::simd128::columns;
use crate::quant::simd128::*;
use bytemuck::Zeroable;
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks::<GROUP>().0.iter().zip(&mut *blocks).enumerate() {
        let subs = weights.as_chunks::<SUB>().0;
        let mut scales = [0f32; SUBS];
        for (quad, scales) in subs.as_chunks().0.iter().zip(scales.as_chunks_mut().0) {
            let x = columns(quad);
            store(scales, search(&x, &x.map(|x| f32x4_mul(x, x))));
        }
        if !store_block(weights, &scales, block) {
            scalar::quantize(weights, std::slice::from_mut(block)).map_err(|fault| fault.after(index * GROUP))?;
        }
    }
    Ok(())
}

/// A block of the scales that were found, or false where it needs the scalar code: a scale that is not finite, is too large
/// for f16, or too small to have an inverse.
#[inline(always)]
fn store_block(weights: &[f32; GROUP], scales: &[f32; SUBS], block: &mut Block) -> bool {
    *block = Block::zeroed();
    let Ok(steps) = store_scales(scales, block) else { return false };
    let inverses = steps.map(|step| if step != 0.0 { 1.0 / step } else { 0.0 });
    for ((sub, levels), inverse) in weights.as_chunks::<SUB>().0.iter().zip(&mut block.levels).zip(inverses) {
        store_levels(sub, inverse, levels);
    }
    inverses.iter().all(|inverse| inverse.is_finite())
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let subs = weights.as_chunks_mut::<SUB>().0.iter_mut().zip(&block.levels);
        for ((sub, levels), scale) in subs.zip(stored_scales(block)) {
            restore(levels, f32x4_splat(scale), sub);
        }
    }
}
