//! The searches on four groups at once, one a lane: each lane adds in the reference's order, so its floats are the
//! reference's floats.

use super::{Affine, Tries};
use crate::quant::simd128::*;
use core::arch::wasm32::*;

/// Four groups of `N` weights: element i of each, and what its error counts for.
pub(in crate::quant) struct Quad<const N: usize> {
    pub x: [v128; N],
    pub weights: [v128; N],
}

/// The best scale and minimum of each lane, as [`super::affine`] gives them; `min` keeps its sign (0 or less).
pub(in crate::quant) struct Fits {
    pub scale: v128,
    pub min: v128,
}

impl Fits {
    /// Lane by lane.
    #[inline(always)]
    pub(in crate::quant) fn affine(&self) -> [Affine; 4] {
        let (scales, mins) = (lanes(self.scale), lanes(f32x4_neg(self.min)));
        std::array::from_fn(|i| Affine { scale: f32::from_bits(scales[i]), min: f32::from_bits(mins[i]) })
    }
}

/// Element i of four groups that lie one after the other.
#[inline(always)]
pub(in crate::quant) fn columns<const N: usize>(groups: &[[f32; N]; 4]) -> [v128; N] {
    let mut x = [f32x4_splat(0.0); N];
    for (i, x) in x.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let row = |lane: usize| load(&groups[lane].as_chunks().0[i]);
        *x = transpose([row(0), row(1), row(2), row(3)]);
    }
    x
}

/// The largest magnitude of each lane, as bits.
#[inline(always)]
pub(in crate::quant) fn largest<const N: usize>(x: &[v128; N]) -> v128 {
    x.iter().fold(i32x4_splat(0), |largest, x| i32x4_max(largest, abs(*x)))
}

/// [`super::affine`] on four lanes. `None` where a lane needs the reference: numbers that are not finite, or a range so
/// small or so large beside its place that levels leave what rounds as integers do.
#[inline(always)]
pub(in crate::quant) fn affine<const N: usize>(tries: &Tries, quad: &Quad<N>) -> Option<Fits> {
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
    let mut levels = [zero; N];
    let inverse = f32x4_div(f32x4_splat(top), range_from(min));
    let mut scale = f32x4_div(f32x4_splat(1.0), inverse);
    for (level, x) in levels.iter_mut().zip(x) {
        *level = f32x4_nearest(f32x4_mul(inverse, f32x4_sub(*x, min)));
    }
    let mut least = error(tries.absolute, quad, &levels, scale, min);
    for i in 0..tries.count {
        let spread = tries.first + tries.step * i as f32 + top;
        let inverse = f32x4_div(f32x4_splat(spread), range_from(min));
        // Less than half a level above the highest: rounding bounds it.
        let [l_sum, ll_sum, xl_sum] = if spread < top + 0.48 {
            sums::<N, false>(top, quad, inverse, min, &mut levels)
        } else {
            sums::<N, true>(top, quad, inverse, min, &mut levels)
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
        min = v128_bitselect(this_min, min, better);
    }
    (!v128_any_true(unfit)).then_some(Fits { scale: v128_andnot(scale, flat), min })
}

/// Σ w·l, Σ w·l² and Σ w·l·x of the levels that an inverse scale gives, which are stored; bounded by 0 and, with `ABOVE`,
/// by `top`.
#[inline(always)]
fn sums<const N: usize, const ABOVE: bool>(
    top: f32,
    quad: &Quad<N>,
    inverse: v128,
    min: v128,
    levels: &mut [v128; N],
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
fn error<const N: usize>(absolute: bool, quad: &Quad<N>, levels: &[v128; N], scale: v128, min: v128) -> v128 {
    let mut sum = f32x4_splat(0.0);
    for ((x, w), level) in quad.x.iter().zip(&quad.weights).zip(levels) {
        let difference = f32x4_sub(f32x4_add(f32x4_mul(scale, *level), min), *x);
        let size = if absolute { f32x4_abs(difference) } else { f32x4_mul(difference, difference) };
        sum = f32x4_add(sum, f32x4_mul(*w, size));
    }
    sum
}
