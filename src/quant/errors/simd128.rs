//! Error sums in SIMD128: the reference's lanes are lanes.

use super::{Errors, STRIP, scalar};
use crate::quant::simd128::*;
use core::arch::wasm32::*;

pub(super) fn strips(original: &[f32], converted: &[f32]) -> Errors {
    let (a_strips, a_rest) = original.as_chunks::<STRIP>();
    let (b_strips, b_rest) = converted.as_chunks::<STRIP>();
    let zero = f32x4_splat(0.0);
    let (mut squared, mut original_squared, mut max) = (zero, zero, zero);
    for (a, b) in a_strips.iter().zip(b_strips) {
        let (mut strip_squared, mut strip_original) = (zero, zero);
        for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
            let a = load(a);
            let error = f32x4_sub(a, load(b));
            strip_squared = f32x4_add(strip_squared, f32x4_mul(error, error));
            strip_original = f32x4_add(strip_original, f32x4_mul(a, a));
            max = f32x4_pmax(max, abs(error));
        }
        squared = f64x2_add(squared, halves(strip_squared));
        original_squared = f64x2_add(original_squared, halves(strip_original));
    }
    let sum = |v| f64x2_extract_lane::<0>(v) + f64x2_extract_lane::<1>(v);
    let mut errors = Errors {
        squared: sum(squared),
        original_squared: sum(original_squared),
        max: lanes(max).into_iter().map(f32::from_bits).fold(0.0, f32::max),
    };
    errors += scalar::in_f64(a_rest, b_rest);
    errors
}

/// Lanes 0 + 2 and 1 + 3, in f64.
#[inline(always)]
fn halves(v: v128) -> v128 {
    let upper = i64x2_shuffle::<1, 1>(v, v);
    f64x2_add(f64x2_promote_low_f32x4(v), f64x2_promote_low_f32x4(upper))
}
