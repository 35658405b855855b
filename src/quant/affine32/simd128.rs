//! The same in SIMD128: the search on four sub-blocks at a time.

use super::{Head, Kind, SUB, SUBS, scalar};
use crate::quant::fault::Fault;
use crate::quant::search::simd128::{Fits, Quad, affine, columns, largest};
use crate::quant::search::{Affine, Tries};
use crate::quant::simd128::*;
use crate::quant::super_block::GROUP;
use crate::quant::super_block::simd128::affine_levels;
use core::arch::wasm32::*;

/// The scales of a block, and its levels.
#[inline(always)]
pub(in crate::quant) fn quantize(
    kind: &Kind,
    weights: &[f32; GROUP],
    importance: Option<&[f32; GROUP]>,
    levels: &mut [u8; GROUP],
) -> Result<Head, Fault> {
    if importance.is_some() {
        return scalar::quantize(kind, weights, importance, levels);
    }
    let subs = weights.as_chunks::<SUB>().0;
    let [Some(first), Some(second)] = [0, 1].map(|quad| search(&kind.tries, &subs.as_chunks().0[quad])) else {
        return scalar::quantize(kind, weights, importance, levels);
    };
    let mut fits = [Affine { scale: 0.0, min: 0.0 }; SUBS];
    for (quad, fits) in [first, second].iter().zip(fits.as_chunks_mut().0) {
        *fits = quad.affine();
    }
    let head = scalar::head(&fits, None)?;
    for (s, (scale, min)) in scalar::read(&head).into_iter().enumerate() {
        let levels = &mut levels.as_chunks_mut::<SUB>().0[s];
        if scale != 0.0 {
            affine_levels(kind.tries.top, scale, min, &subs[s], levels);
        } else if fits[s].scale == 0.0 {
            *levels = [0; SUB];
        } else {
            scalar::search(kind, 0.0, &subs[s], None, levels);
        }
    }
    Ok(head)
}

#[inline(always)]
fn search(tries: &Tries, subs: &[[f32; SUB]; 4]) -> Option<Fits> {
    let x = columns(subs);
    if v128_any_true(i32x4_ge(largest(&x), u32x4_splat(INFINITY))) {
        return None;
    }
    let squares = x.iter().fold(f32x4_splat(0.0), |sum, x| f32x4_add(sum, f32x4_mul(*x, *x)));
    let typical = f32x4_sqrt(f32x4_div(squares, f32x4_splat(SUB as f32)));
    let weights = x.map(|x| f32x4_add(typical, f32x4_abs(x)));
    affine(tries, &Quad { x, weights })
}
