//! The same functions on vectors of four: the same sums in the same order.

use super::scalar::{EXP, EXP_MAGIC, EXP_RANGE, LANES, LN2};
use core::arch::wasm32::*;

/// Vectors of partial sums.
pub(super) const VECTORS: usize = LANES / 4;

#[inline(always)]
pub(super) fn load(x: &[f32; LANES], vector: usize) -> v128 {
    let x = &x[4 * vector..][..4];
    // SAFETY: four readable f32; v128_load needs no alignment.
    unsafe { v128_load(x.as_ptr().cast()) }
}

#[inline(always)]
pub(super) fn store(x: &mut [f32; LANES], vector: usize, v: v128) {
    let x = &mut x[4 * vector..][..4];
    // SAFETY: four writable f32; v128_store needs no alignment.
    unsafe { v128_store(x.as_mut_ptr().cast(), v) }
}

/// `rest`, padded with zeros: they add nothing to a partial sum.
pub(super) fn pad<T: Copy + Default>(rest: &[T]) -> [T; LANES] {
    let mut padded = [T::default(); LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_by(a, b, load)
}

/// As [`dot`], with elements of any type: `vector` loads four as f32.
#[inline(always)]
pub(in crate::engine::cpu) fn dot_by<T: Copy + Default>(
    a: &[T],
    b: &[f32],
    vector: impl Fn(&[T; LANES], usize) -> v128,
) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut sums = [f32x4_splat(0.0); VECTORS];
    let mut add = |a: &[T; LANES], b: &[f32; LANES]| {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = f32x4_add(*sum, f32x4_mul(vector(a, i), load(b, i)));
        }
    };
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a.iter().zip(b) {
        add(a, b);
    }
    if !a_rest.is_empty() {
        add(&pad(a_rest), &pad(b_rest));
    }
    reduce(sums)
}

pub fn sum(x: &[f32]) -> f32 {
    let mut sums = [f32x4_splat(0.0); VECTORS];
    let (chunks, rest) = x.as_chunks();
    for chunk in chunks.iter().chain([&pad(rest)]) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = f32x4_add(*sum, load(chunk, i));
        }
    }
    reduce(sums)
}

/// The sum of the partial sums, in halves.
#[inline(always)]
pub(super) fn reduce(sums: [v128; VECTORS]) -> f32 {
    let quarter = f32x4_add(f32x4_add(sums[0], sums[2]), f32x4_add(sums[1], sums[3]));
    let half = f32x4_add(quarter, i64x2_shuffle::<1, 1>(quarter, quarter));
    f32x4_extract_lane::<0>(half) + f32x4_extract_lane::<1>(half)
}

#[inline(always)]
pub(super) fn exp(x: v128) -> v128 {
    let x = f32x4_min(f32x4_max(x, f32x4_splat(EXP_RANGE[0])), f32x4_splat(EXP_RANGE[1]));
    let shifted = f32x4_add(f32x4_mul(x, f32x4_splat(std::f32::consts::LOG2_E)), f32x4_splat(EXP_MAGIC));
    let n = f32x4_sub(shifted, f32x4_splat(EXP_MAGIC));
    let product = |part| f32x4_mul(n, f32x4_splat(part));
    let r = f32x4_sub(f32x4_sub(x, product(LN2[0])), product(LN2[1]));
    let mut p = f32x4_splat(EXP[0]);
    for c in &EXP[1..] {
        p = f32x4_add(f32x4_mul(p, r), f32x4_splat(*c));
    }
    let power = i32x4_add(i32x4_shl(shifted, 23), i32x4_splat(0x3f80_0000));
    let series = f32x4_add(f32x4_add(f32x4_mul(p, f32x4_mul(r, r)), r), f32x4_splat(1.0));
    f32x4_mul(series, power)
}
