//! Weighted groups in SIMD128: four of a row at a time, a lane each.

use super::GROUP;
use crate::quant::fault::Fault;
use crate::quant::search::{TINY, Tries};
use crate::quant::simd128::*;
use core::arch::wasm32::*;

/// As [`super::for_each`]: four groups by `vector`; those that it refuses, and what is left of a row, by `scalar`.
#[inline(always)]
pub(in crate::quant) fn for_each<Block, Row: Copy>(
    rows: &[f32],
    importance: &[f32],
    blocks: &mut [Block],
    prepare: impl Fn(&[f32]) -> Result<Row, Fault>,
    vector: impl Fn(&[[f32; GROUP]; 4], &[[f32; GROUP]; 4], Row, &mut [Block; 4]) -> bool,
    scalar: impl Fn(&[f32; GROUP], &[f32; GROUP], Row) -> Result<Block, Fault>,
) -> Result<(), Fault> {
    let cols = importance.len();
    for (index, (row, blocks)) in rows.chunks_exact(cols).zip(blocks.chunks_exact_mut(cols / GROUP)).enumerate() {
        let start = index * cols;
        let prepared = prepare(row).map_err(|fault| fault.after(start))?;
        let (groups, importance) = (row.as_chunks::<GROUP>().0, importance.as_chunks::<GROUP>().0);
        let fours = groups.chunks(4).zip(importance.chunks(4)).zip(blocks.chunks_mut(4));
        for (index, ((groups, importance), blocks)) in fours.enumerate() {
            if let (Some(groups), Some(importance), Some(blocks)) =
                (groups.first_chunk(), importance.first_chunk(), blocks.first_chunk_mut())
                && vector(groups, importance, prepared, blocks)
            {
                continue;
            }
            for (i, ((group, importance), block)) in groups.iter().zip(importance).zip(blocks).enumerate() {
                let found = scalar(group, importance, prepared);
                *block = found.map_err(|fault| fault.after(start + (4 * index + i) * GROUP))?;
            }
        }
    }
    Ok(())
}

/// The groups, a lane each, and what their errors count for.
#[inline(always)]
pub(in crate::quant) fn quad(groups: &[[f32; GROUP]; 4], importance: &[[f32; GROUP]; 4], spread: v128) -> Quad {
    let (x, mut weights) = (columns(groups), columns(importance));
    for (weight, x) in weights.iter_mut().zip(x) {
        *weight = f32x4_mul(*weight, f32x4_sqrt(f32x4_add(spread, f32x4_mul(x, x))));
    }
    Quad { x, weights }
}

/// Four groups of 32 weights: element i of each, and what its error counts for.
pub(in crate::quant) struct Quad {
    pub x: [v128; GROUP],
    pub weights: [v128; GROUP],
}

/// Element i of four groups that lie one after the other.
#[inline(always)]
pub(in crate::quant) fn columns(groups: &[[f32; GROUP]; 4]) -> [v128; GROUP] {
    let mut x = [f32x4_splat(0.0); GROUP];
    for (i, x) in x.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let row = |lane: usize| load(&groups[lane].as_chunks().0[i]);
        *x = transpose([row(0), row(1), row(2), row(3)]);
    }
    x
}

/// The best scale and minimum of each lane, as [`crate::quant::search::affine`] gives them; `min` keeps its sign (0 or less).
pub(in crate::quant) struct Fits {
    pub scale: v128,
    pub min: v128,
    /// Whose levels are the best ones: those of (x − start) · inverse.
    pub inverse: v128,
    pub start: v128,
}

/// [`crate::quant::search::affine`] on four lanes. `None` where a lane needs the reference: numbers that are not finite, or a range so
/// small or so large beside its place that levels leave what rounds as integers do.
#[inline(always)]
pub(in crate::quant) fn affine(tries: &Tries, quad: &Quad) -> Option<Fits> {
    let Quad { x, weights } = quad;
    let zero = f32x4_splat(0.0);
    let (mut min, mut max) = (x[0], x[0]);
    let (mut w_sum, mut x_sum) = (weights[0], f32x4_mul(weights[0], x[0]));
    for (x, w) in x.iter().zip(weights).skip(1) {
        min = f32x4_pmin(min, *x);
        max = f32x4_pmax(max, *x);
        w_sum = f32x4_add(w_sum, *w);
        x_sum = f32x4_add(x_sum, f32x4_mul(*w, *x));
    }
    min = f32x4_pmin(min, zero);
    // A flat lane gets a range of 1: its levels are 0, no try has a determinant, and its scale becomes 0 at the end.
    let flat = f32x4_eq(max, min);
    let least_range = v128_and(f32x4_splat(1.0), flat);
    let magnitude = f32x4_pmax(max, f32x4_neg(min)); // |x| is at most this
    let mut unfit = zero;
    let mut range_from = |min: v128| {
        let range = f32x4_pmax(least_range, f32x4_sub(max, min));
        // 2^-100 ≤ range < 2^100, which NaN is not, and |x − min| ≤ 2^16 · range.
        let in_bounds = u32x4_lt(i32x4_sub(range, u32x4_splat(27 << 23)), u32x4_splat(200 << 23));
        let wide = f32x4_ge(f32x4_mul(range, f32x4_splat(65536.0)), f32x4_sub(magnitude, min));
        unfit = v128_or(unfit, v128_not(v128_and(in_bounds, wide)));
        range
    };

    let top = tries.top as f32;
    let mut levels = [zero; GROUP];
    let inverse = f32x4_div(f32x4_splat(top), range_from(min));
    let mut scale = f32x4_div(f32x4_splat(1.0), inverse);
    for (level, x) in levels.iter_mut().zip(x) {
        *level = f32x4_nearest(f32x4_mul(inverse, f32x4_sub(*x, min)));
    }
    let mut least = error(tries.absolute, quad, &levels, scale, min);
    let (mut best, mut start) = (inverse, min);
    for i in 0..tries.count {
        let spread = tries.first + tries.step * i as f32 + top;
        let inverse = f32x4_div(f32x4_splat(spread), range_from(min));
        // Less than half a level above the highest: rounding bounds it.
        let [l_sum, ll_sum, xl_sum] = if spread < top + 0.48 {
            affine_sums::<false>(top, quad, inverse, min, &mut levels)
        } else {
            affine_sums::<true>(top, quad, inverse, min, &mut levels)
        };
        let determinant = f32x4_sub(f32x4_mul(w_sum, ll_sum), f32x4_mul(l_sum, l_sum));
        let scale_part = f32x4_sub(f32x4_mul(w_sum, xl_sum), f32x4_mul(x_sum, l_sum));
        let min_part = f32x4_sub(f32x4_mul(ll_sum, x_sum), f32x4_mul(l_sum, xl_sum));
        let mut this_scale = f32x4_div(scale_part, determinant);
        let mut this_min = f32x4_div(min_part, determinant);
        let above = f32x4_gt(this_min, zero);
        if v128_any_true(above) {
            this_min = v128_andnot(this_min, above);
            this_scale = v128_bitselect(f32x4_div(xl_sum, ll_sum), this_scale, above);
        }
        let this_error = error(tries.absolute, quad, &levels, this_scale, this_min);
        let better = v128_and(f32x4_gt(determinant, zero), f32x4_lt(this_error, least));
        least = v128_bitselect(this_error, least, better);
        scale = v128_bitselect(this_scale, scale, better);
        (best, start) = (v128_bitselect(inverse, best, better), v128_bitselect(min, start, better));
        min = v128_bitselect(this_min, min, better);
    }
    (!v128_any_true(unfit)).then_some(Fits { scale: v128_andnot(scale, flat), min, inverse: best, start })
}

/// Σ w·l, Σ w·l² and Σ w·l·x of the levels that an inverse scale gives, which are stored; bounded by 0 and, with `ABOVE`,
/// by `top`.
#[inline(always)]
fn affine_sums<const ABOVE: bool>(
    top: f32,
    quad: &Quad,
    inverse: v128,
    min: v128,
    levels: &mut [v128; GROUP],
) -> [v128; 3] {
    let zero = f32x4_splat(0.0);
    let [mut l_sum, mut ll_sum, mut xl_sum] = [zero; 3];
    for ((x, w), level) in quad.x.iter().zip(&quad.weights).zip(levels) {
        let mut l = f32x4_nearest(f32x4_mul(inverse, f32x4_sub(*x, min)));
        l = f32x4_pmax(zero, l);
        if ABOVE {
            l = f32x4_pmin(f32x4_splat(top), l);
        }
        *level = l;
        let wl = f32x4_mul(*w, l);
        l_sum = f32x4_add(l_sum, wl);
        ll_sum = f32x4_add(ll_sum, f32x4_mul(wl, l));
        xl_sum = f32x4_add(xl_sum, f32x4_mul(wl, *x));
    }
    [l_sum, ll_sum, xl_sum]
}

/// Σ w·(scale · l + min − x)², or of the magnitudes.
#[inline(always)]
fn error(absolute: bool, quad: &Quad, levels: &[v128; GROUP], scale: v128, min: v128) -> v128 {
    let mut sum = f32x4_splat(0.0);
    for ((x, w), level) in quad.x.iter().zip(&quad.weights).zip(levels) {
        let difference = f32x4_sub(f32x4_add(f32x4_mul(scale, *level), min), *x);
        let size = if absolute { f32x4_abs(difference) } else { f32x4_mul(difference, difference) };
        sum = f32x4_add(sum, f32x4_mul(*w, size));
    }
    sum
}

/// The best scale of each lane, as [`crate::quant::search::symmetric`] gives it, and the inverse whose levels led to it.
pub(in crate::quant) struct Scales {
    pub scale: v128,
    pub inverse: v128,
    /// Lanes whose levels are all the lowest: groups of zeros.
    pub zero: v128,
}

/// [`crate::quant::search::symmetric`] on four lanes. `None` where a lane holds what is not finite, or its sums overflow.
#[inline(always)]
pub(in crate::quant) fn symmetric(half: i32, quad: &Quad) -> Option<Scales> {
    let (mut largest, mut extreme) = (f32x4_splat(0.0), f32x4_splat(0.0));
    for &x in &quad.x {
        let magnitude = abs(x);
        extreme = v128_bitselect(x, extreme, i32x4_gt(magnitude, largest));
        largest = i32x4_max(largest, magnitude);
    }
    let half = half as f32;
    let mut inverse = f32x4_div(f32x4_splat(-half), extreme);
    let (xl, ll) = symmetric_sums(half, quad, inverse);
    let mut scale = v128_and(f32x4_div(xl, ll), f32x4_ne(ll, f32x4_splat(0.0)));
    let mut worth = f32x4_mul(scale, xl);
    for step in (-9..=9).filter(|&step| step != 0) {
        let this_inverse = f32x4_div(f32x4_splat(-(half + 0.1 * step as f32)), extreme);
        let (xl, ll) = symmetric_sums(half, quad, this_inverse);
        let better = f32x4_gt(f32x4_mul(xl, xl), f32x4_mul(worth, ll));
        let better = v128_and(better, f32x4_gt(ll, f32x4_splat(0.0)));
        let this = f32x4_div(xl, ll);
        scale = v128_bitselect(this, scale, better);
        worth = v128_bitselect(f32x4_mul(this, xl), worth, better);
        inverse = v128_bitselect(this_inverse, inverse, better);
    }
    let zero = f32x4_lt(largest, f32x4_splat(TINY));
    let scale = v128_andnot(scale, zero);
    let unfit = v128_or(not_finite(largest), not_finite(scale));
    (!v128_any_true(unfit)).then_some(Scales { scale, inverse, zero })
}

/// Σ w·x·l and Σ w·l² of the levels −`half` … `half` − 1 that an inverse scale gives.
#[inline(always)]
fn symmetric_sums(half: f32, quad: &Quad, inverse: v128) -> (v128, v128) {
    let (mut xl, mut ll) = (f32x4_splat(0.0), f32x4_splat(0.0));
    for (x, w) in quad.x.iter().zip(&quad.weights) {
        // −0 where the reference has 0: it adds ±0 to sums that are never −0, which changes nothing.
        let l = f32x4_nearest(f32x4_mul(inverse, *x));
        let l = f32x4_pmin(f32x4_pmax(l, f32x4_splat(-half)), f32x4_splat(half - 1.0));
        xl = f32x4_add(xl, f32x4_mul(f32x4_mul(*w, *x), l));
        ll = f32x4_add(ll, f32x4_mul(f32x4_mul(*w, l), l));
    }
    (xl, ll)
}
