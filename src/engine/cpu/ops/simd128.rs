//! The same functions on vectors of four: the same sums in the same order.

use super::scalar::{EXP, EXP_MAGIC, EXP_RANGE, LANES, LN2};
use core::arch::wasm32::*;

/// Vectors of partial sums.
const VECTORS: usize = LANES / 4;

/// Four numbers from `at` on; panics past the end in debug builds only.
#[inline(always)]
fn load(x: &[f32], at: usize) -> v128 {
    debug_assert!(at + 4 <= x.len());
    // SAFETY: callers stay within the slice (see each loop's bound); v128_load needs no alignment.
    unsafe { v128_load(x.as_ptr().add(at).cast()) }
}

#[inline(always)]
fn store(x: &mut [f32], at: usize, v: v128) {
    debug_assert!(at + 4 <= x.len());
    // SAFETY: as in `load`.
    unsafe { v128_store(x.as_mut_ptr().add(at).cast(), v) }
}

/// What is left past the last whole group of `LANES`, padded with zeros: they add nothing to a partial sum.
fn tail(x: &[f32]) -> [f32; LANES] {
    let mut padded = [0.0; LANES];
    let rest = &x[x.len() / LANES * LANES..];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut sums = [f32x4_splat(0.0); VECTORS];
    let mut add = |a: &[f32], b: &[f32], at: usize| {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = f32x4_add(*sum, f32x4_mul(load(a, at + 4 * i), load(b, at + 4 * i)));
        }
    };
    for at in (0..a.len() / LANES * LANES).step_by(LANES) {
        add(a, b, at);
    }
    if !a.len().is_multiple_of(LANES) {
        add(&tail(a), &tail(b), 0);
    }
    reduce(sums)
}

/// The sum of the partial sums, in halves.
#[inline(always)]
fn reduce(sums: [v128; VECTORS]) -> f32 {
    let quarter = f32x4_add(f32x4_add(sums[0], sums[2]), f32x4_add(sums[1], sums[3]));
    let half = f32x4_add(quarter, i64x2_shuffle::<1, 1>(quarter, quarter));
    f32x4_extract_lane::<0>(half) + f32x4_extract_lane::<1>(half)
}

pub fn attend(q: &[f32], keys: &[f32], values: &[f32], scores: &mut [f32], out: &mut [f32]) {
    let (width, count) = (q.len(), scores.len());
    assert!(out.len() == width && keys.len() == count * width && values.len() == count * width);
    let scale = 1.0 / (width as f32).sqrt();
    let mut max = f32::NEG_INFINITY;
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(width)) {
        *score = dot(q, key) * scale;
        max = max.max(*score);
    }

    let mut sums = [f32x4_splat(0.0); VECTORS];
    let max = f32x4_splat(max);
    for at in (0..count / LANES * LANES).step_by(LANES) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let e = exp(f32x4_sub(load(scores, at + 4 * i), max));
            store(scores, at + 4 * i, e);
            *sum = f32x4_add(*sum, e);
        }
    }
    let rest = count % LANES;
    let mut padded = tail(scores);
    for (i, sum) in sums.iter_mut().enumerate() {
        let e = exp(f32x4_sub(load(&padded, 4 * i), max));
        store(&mut padded, 4 * i, e);
        padded[rest.max(4 * i)..].fill(0.0);
        *sum = f32x4_add(*sum, load(&padded, 4 * i));
    }
    scores[count - rest..].copy_from_slice(&padded[..rest]);
    let norm = f32x4_splat(1.0 / reduce(sums));

    let mut at = 0;
    while at + LANES <= width {
        let mut sums = [f32x4_splat(0.0); VECTORS];
        for (row, score) in scores.iter().enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = load(values, row * width + at + 4 * i);
                *sum = f32x4_add(*sum, f32x4_mul(f32x4_splat(*score), value));
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            store(out, at + 4 * i, f32x4_mul(sum, norm));
        }
        at += LANES;
    }
    for at in at..width {
        let sum = scores.iter().enumerate().fold(0.0, |sum, (row, score)| sum + score * values[row * width + at]);
        out[at] = sum * f32x4_extract_lane::<0>(norm);
    }
}

#[inline(always)]
fn exp(x: v128) -> v128 {
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
