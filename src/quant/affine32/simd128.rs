//! The same in SIMD128: all eight sub-blocks are searched at once.

use super::{Head, Kind, SUB, SUBS, scalar};
use crate::quant::fault::Fault;
use crate::quant::search::simd128::{Found, Groups, PAIR, affine, columns, each, not_finite};
use crate::quant::super_block::GROUP;
use crate::quant::super_block::simd128::{affine_levels, weigh};
use core::arch::wasm32::*;

/// The scales of a block, and its levels.
#[inline(always)]
pub(in crate::quant) fn quantize(
    kind: &Kind,
    weights: &[f32; GROUP],
    importance: Option<&[f32; GROUP]>,
    levels: &mut [u8; GROUP],
) -> Result<Head, Fault> {
    let spread = importance.map_or(0.0, |_| scalar::spread(weights));
    let subs = weights.as_chunks::<SUB>().0;
    let found = match importance {
        None => search(kind, subs),
        Some(importance) => search_with_importance(kind, spread, subs, importance.as_chunks().0),
    };
    let Some(Found { fits, worth }) = found else {
        return scalar::quantize(kind, weights, importance, levels);
    };
    let head = scalar::head(&fits, importance.is_some().then_some(&worth))?;
    for (s, (scale, min)) in scalar::read(&head).into_iter().enumerate() {
        let levels = &mut levels.as_chunks_mut::<SUB>().0[s];
        if scale != 0.0 {
            affine_levels(kind.tries.top, scale, min, &subs[s], levels);
        } else if fits[s].scale != 0.0 {
            scalar::search(kind, spread, &subs[s], importance.map(|importance| &importance.as_chunks().0[s]), levels);
        }
    }
    Ok(head)
}

#[inline(always)]
fn search(kind: &Kind, subs: &[[f32; SUB]]) -> Option<Found> {
    const { assert!(SUBS == 4 * PAIR) };
    let x = columns(subs);
    if not_finite(&x) {
        return None;
    }
    let mut squares = [f32x4_splat(0.0); PAIR];
    for x in &x {
        squares = each(|v| f32x4_add(squares[v], f32x4_mul(x[v], x[v])));
    }
    let typical = squares.map(|squares| f32x4_sqrt(f32x4_div(squares, f32x4_splat(SUB as f32))));
    let weights = x.map(|x| each(|v| f32x4_add(typical[v], f32x4_abs(x[v]))));
    affine::<SUB, false>(&kind.tries, &Groups { x, weights })
}

#[inline(never)]
fn search_with_importance(kind: &Kind, spread: f32, subs: &[[f32; SUB]], importance: &[[f32; SUB]]) -> Option<Found> {
    let x = columns(subs);
    if not_finite(&x) {
        return None;
    }
    let weights = weigh(spread, &x, &columns(importance));
    affine::<SUB, false>(&kind.tries_with_importance, &Groups { x, weights })
}
