//! Q2_K in SIMD128: the search runs on four sub-blocks at a time.

use super::{Block, SUB, SUBS, TRIES, scalar};
use crate::quant::fault::Fault;
use crate::quant::search::simd128::{Fits, Quad, affine, columns, largest};
use crate::quant::search::{Affine, affine as affine_of_one};
use crate::quant::simd128::*;
use crate::quant::super_block::simd128::affine_levels;
use crate::quant::super_block::{GROUP, for_each, pack_pairs};
use core::arch::wasm32::*;

pub(in crate::quant) use super::scalar::dequantize;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        if importance.is_none() && quantize_block(weights, block)? {
            return Ok(());
        }
        scalar::quantize_block(weights, importance, block)
    })
}

/// A block, or false where it needs the scalar code.
fn quantize_block(weights: &[f32; GROUP], block: &mut Block) -> Result<bool, Fault> {
    let subs = weights.as_chunks::<SUB>().0;
    let mut fits = [Affine { scale: 0.0, min: 0.0 }; SUBS];
    for (quad, fits) in subs.as_chunks().0.iter().zip(fits.as_chunks_mut().0) {
        let Some(found) = search(quad) else { return Ok(false) };
        *fits = found.affine();
    }
    scalar::quantize_scales(&fits, None, block)?;
    let mut levels = [0u8; GROUP];
    for (s, (scale, min)) in scalar::read(block).into_iter().enumerate() {
        let levels = &mut levels.as_chunks_mut::<SUB>().0[s];
        if scale != 0.0 {
            affine_levels(TRIES.top, scale, min, &subs[s], levels);
        } else if fits[s].scale != 0.0 {
            affine_of_one(&TRIES, &subs[s], &subs[s].map(f32::abs), levels);
        }
    }
    pack_pairs(&levels, &mut block.levels);
    Ok(true)
}

#[inline(always)]
fn search(subs: &[[f32; SUB]; 4]) -> Option<Fits> {
    let x = columns(subs);
    if v128_any_true(i32x4_ge(largest(&x), u32x4_splat(INFINITY))) {
        return None;
    }
    affine(&TRIES, &Quad { x, weights: x.map(|x| f32x4_abs(x)) })
}
