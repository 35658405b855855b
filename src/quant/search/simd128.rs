//! The searches on many groups at once, one a lane: each lane adds in the reference's order, so its floats are the
//! reference's floats.

use super::{Affine, TINY, Tries};
use crate::quant::simd128::*;
use core::arch::wasm32::*;

/// Vectors that go through the loops of [`affine`] together, since the sums of one lane wait for each other.
pub(in crate::quant) const PAIR: usize = 2;
/// Groups that [`affine`] searches at once.
pub(in crate::quant) const EIGHT: usize = 4 * PAIR;

/// Element i of groups that lie one after the other.
#[inline(always)]
pub(in crate::quant) fn columns<const N: usize, const V: usize>(groups: &[[f32; N]]) -> [[v128; V]; N] {
    let groups = groups.as_chunks::<4>().0;
    assert!(groups.len() == V);
    let mut x = [[f32x4_splat(0.0); V]; N];
    for (i, x) in x.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for (v, groups) in groups.iter().enumerate() {
            let row = |lane: usize| load(&groups[lane].as_chunks().0[i]);
            let rows = transpose([row(0), row(1), row(2), row(3)]);
            for (x, row) in x.iter_mut().zip(rows) {
                x[v] = row;
            }
        }
    }
    x
}

/// The same for each vector.
#[inline(always)]
pub(in crate::quant) fn each<const V: usize>(f: impl Fn(usize) -> v128) -> [v128; V] {
    std::array::from_fn(f)
}

/// Whether any lane of any vector is set.
#[inline(always)]
pub(in crate::quant) fn any<const V: usize>(masks: [v128; V]) -> bool {
    v128_any_true(masks.into_iter().fold(u32x4_splat(0), |all, mask| v128_or(all, mask)))
}

/// Whether a number is infinite or NaN.
#[inline(always)]
pub(in crate::quant) fn not_finite<const N: usize, const V: usize>(x: &[[v128; V]; N]) -> bool {
    let largest = x.as_flattened().iter().fold(i32x4_splat(0), |largest, x| i32x4_max(largest, abs(*x)));
    v128_any_true(i32x4_ge(largest, u32x4_splat(INFINITY)))
}

/// Eight groups of `N` weights: element i of each, and what its error counts for.
pub(in crate::quant) struct Groups<const N: usize> {
    pub x: [[v128; PAIR]; N],
    pub weights: [[v128; PAIR]; N],
}

/// What [`affine`] finds.
pub(in crate::quant) struct Found {
    pub fits: [Affine; EIGHT],
    /// Σ weights of each group.
    pub worth: [f32; EIGHT],
}

/// [`super::affine`] on eight lanes. `None` where a lane needs the reference: a range so small or so large beside its place
/// that levels leave what rounds as integers do. The numbers are finite.
#[inline(always)]
pub(in crate::quant) fn affine<const N: usize, const ABSOLUTE: bool>(
    tries: &Tries,
    groups: &Groups<N>,
) -> Option<Found> {
    let Groups { x, weights } = groups;
    let zero = f32x4_splat(0.0);
    let (mut min, mut max) = (x[0], x[0]);
    let (mut w_sum, mut x_sum) = (weights[0], each(|v| f32x4_mul(weights[0][v], x[0][v])));
    for (x, w) in x.iter().zip(weights).skip(1) {
        for v in 0..PAIR {
            min[v] = f32x4_pmin(min[v], x[v]);
            max[v] = f32x4_pmax(max[v], x[v]);
            w_sum[v] = f32x4_add(w_sum[v], w[v]);
            x_sum[v] = f32x4_add(x_sum[v], f32x4_mul(w[v], x[v]));
        }
    }
    min = min.map(|min| f32x4_pmin(min, zero));
    // A flat lane gets a range of 1: its levels are 0, no try has a determinant, and its scale becomes 0 at the end.
    let flat = each::<PAIR>(|v| f32x4_eq(max[v], min[v]));
    let magnitude = each::<PAIR>(|v| f32x4_pmax(max[v], f32x4_neg(min[v]))); // |x| is at most this
    let lowest = min;
    let mut unfit = [zero; PAIR];
    let mut inverse_of = |spread: f32, min: &[v128; PAIR], v: usize| {
        let range = f32x4_pmax(v128_and(f32x4_splat(1.0), flat[v]), f32x4_sub(max[v], min[v]));
        // 2^-100 ≤ range < 2^100, which NaN is not, and |x − min| ≤ 2^16 · range.
        let in_bounds = u32x4_lt(i32x4_sub(range, u32x4_splat(27 << 23)), u32x4_splat(200 << 23));
        let wide = f32x4_ge(f32x4_mul(range, f32x4_splat(65536.0)), f32x4_sub(magnitude[v], min[v]));
        unfit[v] = v128_or(unfit[v], v128_not(v128_and(in_bounds, wide)));
        f32x4_div(f32x4_splat(spread), range)
    };

    let top = tries.top as f32;
    let inverse: [v128; PAIR] = std::array::from_fn(|v| inverse_of(top, &min, v));
    let mut scale = inverse.map(|inverse| f32x4_div(f32x4_splat(1.0), inverse));
    let mut levels: [[v128; PAIR]; N] =
        std::array::from_fn(|i| each(|v| f32x4_nearest(f32x4_mul(inverse[v], f32x4_sub(x[i][v], min[v])))));
    let mut least = error::<N, ABSOLUTE>(groups, &levels, scale, min);
    for i in 0..tries.count {
        let spread = tries.first + tries.step * i as f32 + top;
        let inverse: [v128; PAIR] = std::array::from_fn(|v| inverse_of(spread, &min, v));
        // Less than half a level above the highest or below the lowest, rounding bounds.
        let above = spread >= top + 0.48;
        let start = |v: usize| f32x4_mul(inverse[v], f32x4_sub(lowest[v], min[v]));
        let below = any(each::<PAIR>(|v| f32x4_lt(start(v), f32x4_splat(-0.5))));
        let [l_sum, ll_sum, xl_sum] = match (below, above) {
            (false, false) => sums::<N, false, false>(top, groups, inverse, min, &mut levels),
            (true, false) => sums::<N, true, false>(top, groups, inverse, min, &mut levels),
            (false, true) => sums::<N, false, true>(top, groups, inverse, min, &mut levels),
            (true, true) => sums::<N, true, true>(top, groups, inverse, min, &mut levels),
        };
        let product = |a: [v128; PAIR], b: [v128; PAIR], c: [v128; PAIR], d: [v128; PAIR]| {
            each::<PAIR>(|v| f32x4_sub(f32x4_mul(a[v], b[v]), f32x4_mul(c[v], d[v])))
        };
        let determinant = product(w_sum, ll_sum, l_sum, l_sum);
        let scale_part = product(w_sum, xl_sum, x_sum, l_sum);
        let min_part = product(ll_sum, x_sum, l_sum, xl_sum);
        let mut this_scale = each(|v| f32x4_div(scale_part[v], determinant[v]));
        let mut this_min = each(|v| f32x4_div(min_part[v], determinant[v]));
        let positive = this_min.map(|min| f32x4_gt(min, zero));
        if any(positive) {
            this_min = each(|v| v128_andnot(this_min[v], positive[v]));
            this_scale = each(|v| v128_bitselect(f32x4_div(xl_sum[v], ll_sum[v]), this_scale[v], positive[v]));
        }
        let this_error = error::<N, ABSOLUTE>(groups, &levels, this_scale, this_min);
        for v in 0..PAIR {
            let better = v128_and(f32x4_gt(determinant[v], zero), f32x4_lt(this_error[v], least[v]));
            least[v] = v128_bitselect(this_error[v], least[v], better);
            scale[v] = v128_bitselect(this_scale[v], scale[v], better);
            min[v] = v128_bitselect(this_min[v], min[v], better);
        }
    }
    if any(unfit) {
        return None;
    }
    let mut found = Found { fits: [Affine { scale: 0.0, min: 0.0 }; EIGHT], worth: [0.0; EIGHT] };
    for (i, (fit, worth)) in found.fits.iter_mut().zip(&mut found.worth).enumerate() {
        let lane = |of: v128| f32::from_bits(lanes(of)[i % 4]);
        *fit = Affine { scale: lane(v128_andnot(scale[i / 4], flat[i / 4])), min: -lane(min[i / 4]) };
        *worth = lane(w_sum[i / 4]);
    }
    Some(found)
}

/// Σ w·l, Σ w·l² and Σ w·l·x of the levels that an inverse scale gives, which are stored; bounded by 0 (`BELOW`) and by `top`
/// (`ABOVE`).
#[inline(always)]
fn sums<const N: usize, const BELOW: bool, const ABOVE: bool>(
    top: f32,
    groups: &Groups<N>,
    inverse: [v128; PAIR],
    min: [v128; PAIR],
    levels: &mut [[v128; PAIR]; N],
) -> [[v128; PAIR]; 3] {
    let zero = f32x4_splat(0.0);
    let [mut l_sum, mut ll_sum, mut xl_sum] = [[zero; PAIR]; 3];
    for ((x, w), level) in groups.x.iter().zip(&groups.weights).zip(levels) {
        for v in 0..PAIR {
            let mut l = f32x4_nearest(f32x4_mul(inverse[v], f32x4_sub(x[v], min[v])));
            if BELOW {
                l = i32x4_max(l, zero); // as integers, negative floats and −0 are below 0
            }
            if ABOVE {
                l = f32x4_pmin(f32x4_splat(top), l);
            }
            level[v] = l;
            let wl = f32x4_mul(w[v], l);
            l_sum[v] = f32x4_add(l_sum[v], wl);
            ll_sum[v] = f32x4_add(ll_sum[v], f32x4_mul(wl, l));
            xl_sum[v] = f32x4_add(xl_sum[v], f32x4_mul(wl, x[v]));
        }
    }
    [l_sum, ll_sum, xl_sum]
}

/// Σ w·(scale · l + min − x)², or of the magnitudes.
#[inline(always)]
fn error<const N: usize, const ABSOLUTE: bool>(
    groups: &Groups<N>,
    levels: &[[v128; PAIR]; N],
    scale: [v128; PAIR],
    min: [v128; PAIR],
) -> [v128; PAIR] {
    // Hidden from the compiler, which would otherwise make the constant anew in every turn.
    let magnitude = u32x4_splat(core::hint::black_box(!SIGN));
    let mut sum = [f32x4_splat(0.0); PAIR];
    for ((x, w), level) in groups.x.iter().zip(&groups.weights).zip(levels) {
        for v in 0..PAIR {
            let difference = f32x4_sub(f32x4_add(f32x4_mul(scale[v], level[v]), min[v]), x[v]);
            let size = if ABSOLUTE { v128_and(difference, magnitude) } else { f32x4_mul(difference, difference) };
            sum[v] = f32x4_add(sum[v], f32x4_mul(w[v], size));
        }
    }
    sum
}

/// What [`symmetric`] finds in four groups.
pub(in crate::quant) struct Symmetric {
    /// The best scales; NaN where a number is infinite or NaN.
    pub scale: v128,
    /// The inverses whose levels led to them.
    pub inverse: v128,
}

/// An element of four groups: x, what its error counts for, and their product.
pub(in crate::quant) type Weighted = [v128; 3];

/// [`super::symmetric`] on four lanes.
#[inline(always)]
pub(in crate::quant) fn symmetric<const N: usize, const HALF: u32>(x: &[Weighted; N]) -> Symmetric {
    let zero = f32x4_splat(0.0);
    let (mut largest, mut extreme) = (zero, zero);
    for [x, ..] in *x {
        let magnitude = abs(x);
        extreme = v128_bitselect(x, extreme, i32x4_gt(magnitude, largest));
        largest = i32x4_max(largest, magnitude);
    }
    // Infinity and NaN pass as NaN scales to the caller, whatever the search makes of them.
    let unfit = i32x4_ge(largest, u32x4_splat(INFINITY));

    let inverse = f32x4_div(f32x4_splat(-(HALF as f32)), extreme);
    let [(xl, ll)] = level_sums::<N, HALF, 1, true, true>(x, [inverse]);
    let scale = v128_and(f32x4_div(xl, ll), f32x4_ne(ll, zero));
    let mut best = Best { scale, inverse, worth: f32x4_mul(scale, xl) };
    // Levels from steps up to −6 need no bound (half − 0.6 rounds to half − 1), steps up to 4 none below.
    for step in [-9, -7] {
        best.offer::<N, HALF, 2, false, false>(x, extreme, step);
    }
    for step in [-5, -3] {
        best.offer::<N, HALF, 2, false, true>(x, extreme, step);
    }
    best.offer::<N, HALF, 1, false, true>(x, extreme, -1);
    for step in [1, 3] {
        best.offer::<N, HALF, 2, false, true>(x, extreme, step);
    }
    for step in [5, 7] {
        best.offer::<N, HALF, 2, true, true>(x, extreme, step);
    }
    best.offer::<N, HALF, 1, true, true>(x, extreme, 9);
    let tiny = f32x4_lt(largest, f32x4_splat(TINY));
    Symmetric { scale: v128_or(v128_andnot(best.scale, tiny), unfit), inverse: best.inverse }
}

struct Best {
    scale: v128,
    inverse: v128,
    worth: v128,
}

impl Best {
    /// Tries the inverses −(half + 0.1·step) / extreme for `T` steps from `step` on, in order.
    #[inline(always)]
    fn offer<const N: usize, const HALF: u32, const T: usize, const BELOW: bool, const ABOVE: bool>(
        &mut self,
        x: &[Weighted; N],
        extreme: v128,
        step: i32,
    ) {
        let spread = |i: usize| -(HALF as f32 + 0.1 * (step + i as i32) as f32);
        let inverses: [v128; T] = std::array::from_fn(|i| f32x4_div(f32x4_splat(spread(i)), extreme));
        for ((xl, ll), inverse) in level_sums::<N, HALF, T, BELOW, ABOVE>(x, inverses).into_iter().zip(inverses) {
            let better = f32x4_gt(f32x4_mul(xl, xl), f32x4_mul(self.worth, ll));
            let better = v128_and(better, f32x4_gt(ll, f32x4_splat(0.0)));
            let scale = f32x4_div(xl, ll);
            self.scale = v128_bitselect(scale, self.scale, better);
            self.worth = v128_bitselect(f32x4_mul(scale, xl), self.worth, better);
            self.inverse = v128_bitselect(inverse, self.inverse, better);
        }
    }
}

/// Σ w·x·l and Σ w·l² for the levels l that each of `T` inverses gives; bounded to −half (`BELOW`) and half − 1 (`ABOVE`).
#[inline(always)]
fn level_sums<const N: usize, const HALF: u32, const T: usize, const BELOW: bool, const ABOVE: bool>(
    x: &[Weighted; N],
    inverses: [v128; T],
) -> [(v128, v128); T] {
    let mut sums = [(f32x4_splat(0.0), f32x4_splat(0.0)); T];
    for [x, weight, product] in x {
        for ((xl, ll), inverse) in sums.iter_mut().zip(inverses) {
            // −0 where the reference has 0: it adds ±0 to sums that are never −0, which changes nothing.
            let mut level = f32x4_nearest(f32x4_mul(inverse, *x));
            if BELOW {
                level = f32x4_pmax(level, f32x4_splat(-(HALF as f32)));
            }
            if ABOVE {
                level = f32x4_pmin(level, f32x4_splat(HALF as f32 - 1.0));
            }
            *xl = f32x4_add(*xl, f32x4_mul(*product, level));
            *ll = f32x4_add(*ll, f32x4_mul(f32x4_mul(*weight, level), level));
        }
    }
    sums
}
