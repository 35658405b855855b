//! Q2_K in SIMD128: the search runs on eight sub-blocks at a time.

use super::{Block, SUB, SUBS, TRIES, TRIES_WITH_IMPORTANCE, scalar};
use crate::quant::fault::Fault;
use crate::quant::search::Affine;
use crate::quant::search::simd128::{EIGHT, Found, Groups, affine, columns, not_finite};
use crate::quant::simd128::load_bytes;
use crate::quant::super_block::simd128::{affine_levels, pairs, restore, weigh};
use crate::quant::super_block::{GROUP, for_each, pack_pairs};
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        if quantize_block(weights, importance, block)? {
            return Ok(());
        }
        scalar::quantize_block(weights, importance, block)
    })
}

/// A block, or false where it needs the scalar code.
#[inline(always)]
fn quantize_block(weights: &[f32; GROUP], importance: Option<&[f32; GROUP]>, block: &mut Block) -> Result<bool, Fault> {
    let spread = importance.map_or(0.0, |_| scalar::spread(weights));
    let subs = weights.as_chunks::<SUB>().0;
    let (mut fits, mut worth) = ([Affine { scale: 0.0, min: 0.0 }; SUBS], [0.0; SUBS]);
    for first in [0, EIGHT] {
        let subs = &subs[first..][..EIGHT];
        let found = match importance {
            None => search(subs),
            Some(importance) => search_with_importance(spread, subs, &importance.as_chunks().0[first..][..EIGHT]),
        };
        let Some(found) = found else { return Ok(false) };
        fits[first..][..EIGHT].copy_from_slice(&found.fits);
        worth[first..][..EIGHT].copy_from_slice(&found.worth);
    }
    scalar::quantize_scales(&fits, importance.is_some().then_some(&worth), block)?;
    let mut levels = [0u8; GROUP];
    for (s, (scale, min)) in scalar::read(block).into_iter().enumerate() {
        let levels = &mut levels.as_chunks_mut::<SUB>().0[s];
        if scale != 0.0 {
            affine_levels(TRIES.top, scale, min, &subs[s], levels);
        } else if fits[s].scale != 0.0 {
            scalar::search(spread, &subs[s], importance.map(|importance| &importance.as_chunks().0[s]), levels);
        }
    }
    pack_pairs(&levels, &mut block.levels);
    Ok(true)
}

#[inline(always)]
fn search(subs: &[[f32; SUB]]) -> Option<Found> {
    let x = columns(subs);
    if not_finite(&x) {
        return None;
    }
    let weights = x.map(|x| x.map(|x| f32x4_abs(x)));
    affine::<SUB, true>(&TRIES, &Groups { x, weights })
}

#[inline(never)]
fn search_with_importance(spread: f32, subs: &[[f32; SUB]], importance: &[[f32; SUB]]) -> Option<Found> {
    let x = columns(subs);
    if not_finite(&x) {
        return None;
    }
    let weights = weigh(spread, &x, &columns(importance));
    affine::<SUB, false>(&TRIES_WITH_IMPORTANCE, &Groups { x, weights })
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let subs = scalar::read(block);
        for (s, w) in weights.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
            let bytes = load_bytes(&block.levels.as_chunks().0[s / 8 * 2 + s % 2]);
            restore(pairs(bytes, (s % 8 / 2 * 2) as u32), subs[s], w);
        }
    }
}
