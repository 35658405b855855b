//! Weighted groups in SIMD128: four of a row at a time, a lane each.

use super::GROUP;
use crate::quant::fault::Fault;
use crate::quant::search::{TINY, Tries, simd128 as search};
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
struct Fits {
    scale: v128,
    min: v128,
    /// Whose levels are the best ones: those of (x − start) · inverse.
    inverse: v128,
    start: v128,
}

/// [`crate::quant::search::affine`] on four lanes, which the K-quants' own search does without the best levels. `None` where
/// a lane needs the reference: numbers that are not finite, or a range so small or so large beside its place that levels
/// leave what rounds as integers do.
#[inline(always)]
fn fit(tries: &Tries, quad: &Quad) -> Option<Fits> {
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

/// A group as it is stored: f16 scale (and offset), levels of weights 0 … 15 and 16 … 31.
#[derive(Clone, Copy)]
pub(in crate::quant) struct Stored {
    pub scale: [u8; 2],
    pub offset: [u8; 2],
    pub levels: [v128; 2],
}

/// Groups with the levels −`HALF` … `HALF` − 1 (`HALF` added) of their best scales. `None` where a group needs the scalar
/// code: sums that overflow, a scale that is too large for f16.
#[inline(always)]
pub(in crate::quant) fn symmetric<const HALF: u32>(groups: &[[f32; GROUP]; 4], quad: &Quad) -> Option<[Stored; 4]> {
    let Quad { x, weights } = quad;
    let found =
        search::symmetric::<GROUP, HALF>(&std::array::from_fn(|i| [x[i], weights[i], f32x4_mul(weights[i], x[i])]));
    let scale = f32_to_f16(found.scale);
    if v128_any_true(v128_or(not_finite(found.scale), not_finite_f16(scale))) {
        return None;
    }
    let (scale, inverse) = (lanes(scale), lanes(found.inverse));
    Some(std::array::from_fn(|i| {
        let inverse = u32x4_splat(inverse[i]);
        let (lowest, half) = (i8x16_splat(-(HALF as i8)), i8x16_splat(HALF as i8));
        let mut levels = levels(&groups[i], |w| f32x4_mul(w, inverse)).map(|levels| {
            let levels = i8x16_min(i8x16_max(levels, lowest), i8x16_sub(half, i8x16_splat(1)));
            i8x16_add(levels, half)
        });
        // A group of zeros has the lowest level throughout.
        if scale[i] == 0 && groups[i].iter().all(|w| w.abs() < TINY) {
            levels = [u8x16_splat(0); 2];
        }
        Stored { scale: (scale[i] as u16).to_le_bytes(), offset: [0; 2], levels }
    }))
}

/// Groups with the levels of their best scales and offsets. `None` where a group needs the scalar code.
#[inline(always)]
pub(in crate::quant) fn affine(tries: &Tries, groups: &[[f32; GROUP]; 4], quad: &Quad) -> Option<[Stored; 4]> {
    let fits = fit(tries, quad)?;
    let (scale, offset) = (f32_to_f16(fits.scale), f32_to_f16(fits.min));
    if v128_any_true(v128_or(not_finite_f16(scale), not_finite_f16(offset))) {
        return None;
    }
    let (scale, offset, inverse, start) = (lanes(scale), lanes(offset), lanes(fits.inverse), lanes(fits.start));
    Some(std::array::from_fn(|i| {
        let (inverse, start) = (u32x4_splat(inverse[i]), u32x4_splat(start[i]));
        let levels = levels(&groups[i], |w| f32x4_mul(inverse, f32x4_sub(w, start)));
        Stored {
            scale: (scale[i] as u16).to_le_bytes(),
            offset: (offset[i] as u16).to_le_bytes(),
            levels: levels.map(|q| i8x16_min(i8x16_max(q, i8x16_splat(0)), i8x16_splat(tries.top as i8))),
        }
    }))
}

/// `level` of each weight, to the nearest integer, as bytes.
#[inline(always)]
fn levels(group: &[f32; GROUP], level: impl Fn(v128) -> v128) -> [v128; 2] {
    let w = group.as_chunks().0;
    [0, 4].map(|i| nearest_bytes([0, 1, 2, 3].map(|k| level(load(&w[i + k])))))
}
