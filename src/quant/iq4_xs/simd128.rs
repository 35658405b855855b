//! IQ4_XS in SIMD128: IQ4_NL's search for four sub-blocks at once.

use super::scalar::{self, spread, store_scales, stored_scales};
use super::{Block, GROUP, SUB, SUBS};
use crate::quant::fault::Fault;
use crate::quant::iq4_nl::simd128::{restore, search, store_levels};
use crate::quant::simd128::*;
use crate::quant::super_block::for_each;
use crate::quant::weighted::simd128::{Quad, columns, quad};
use bytemuck::Zeroable;
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, None, blocks, quantize_block)
}

pub(in crate::quant) fn quantize_weighted(rows: &[f32], importance: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, Some(importance), blocks, quantize_block)
}

fn quantize_block(weights: &[f32; GROUP], importance: Option<&[f32; GROUP]>, block: &mut Block) -> Result<(), Fault> {
    let spread = importance.map(|_| f32x4_splat(spread(weights)));
    let mut scales = [0f32; SUBS];
    for (i, (subs, scales)) in
        weights.as_chunks::<SUB>().0.as_chunks().0.iter().zip(scales.as_chunks_mut().0).enumerate()
    {
        let Quad { x, weights } = match (importance, spread) {
            (Some(importance), Some(spread)) => quad(subs, &importance.as_chunks().0.as_chunks().0[i], spread),
            _ => {
                let x = columns(subs);
                Quad { x, weights: x.map(|x| f32x4_mul(x, x)) }
            }
        };
        store(scales, search(&x, &weights));
    }
    if store_block(weights, &scales, block) { Ok(()) } else { scalar::quantize_block(weights, importance, block) }
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
