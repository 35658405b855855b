//! The searches that several of ggml's types share: the scale, or scale and minimum, whose levels are least wrong for a
//! group of weights. Every sum runs in ggml's order, so every float is ggml's. Source: ggml-quants.c (llama.cpp).

#[cfg(target_feature = "simd128")]
pub(super) mod simd128;

use super::fault::{Fault, extreme};
use crate::num::nearest_int;

/// Groups whose largest magnitude is below this count as zero where a scale alone is sought.
pub(super) const TINY: f32 = 1e-15;

/// Seeks the scale for levels −`half` … `half` − 1 whose Σ weights·(x − scale·level)² is least: 19 tries around
/// −`half` / m, m being the weight of largest magnitude. `levels` become the best ones with `half` added (all 0, and the
/// scale too, for a group of zeros). Fails on NaN and infinity in `x`. ggml's `make_qx_quants` with error weights.
pub(super) fn symmetric(half: i32, x: &[f32], weights: &[f32], levels: &mut [u8]) -> Result<f32, Fault> {
    let extreme = extreme(x)?;
    if extreme.abs() < TINY {
        levels.fill(0);
        return Ok(0.0);
    }
    let level = |inverse: f32, x: f32| nearest_int(inverse * x).clamp(-half, half - 1);
    // Σ w·x·l and Σ w·l²: their quotient is the best scale for the levels l, their squares' quotient its worth.
    let sums = |inverse: f32| {
        let (mut xl, mut ll) = (0.0f32, 0.0f32);
        for (&x, &w) in x.iter().zip(weights) {
            let l = level(inverse, x) as f32;
            xl += w * x * l;
            ll += w * l * l;
        }
        (xl, ll)
    };
    let mut best_inverse = -(half as f32) / extreme;
    let (xl, ll) = sums(best_inverse);
    let mut scale = if ll != 0.0 { xl / ll } else { 0.0 };
    let mut worth = scale * xl;
    for step in (-9..=9).filter(|&step| step != 0) {
        let inverse = -(half as f32 + 0.1 * step as f32) / extreme;
        let (xl, ll) = sums(inverse);
        if ll > 0.0 && xl * xl > worth * ll {
            scale = xl / ll;
            worth = scale * xl;
            best_inverse = inverse;
        }
    }
    for (to, &x) in levels.iter_mut().zip(x) {
        *to = (level(best_inverse, x) + half) as u8;
    }
    Ok(scale)
}

/// The tries of [`affine`], as data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tries {
    /// The highest level.
    pub top: i32,
    /// Try i spreads the range of the weights over `top` + `first` + `step` · i levels.
    pub first: f32,
    pub step: f32,
    pub count: i32,
    /// Errors count by magnitude, not squared.
    pub absolute: bool,
}

/// Levels l stand for scale · l − min.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine {
    pub scale: f32,
    /// Not negative.
    pub min: f32,
}

/// Seeks the scale and minimum whose weighted error is least; `levels` become the best ones. ggml's `make_qkx2_quants`,
/// and `make_qkx3_quants` with weights. A try that wins moves the minimum that the next tries start from.
pub(super) fn affine(tries: &Tries, x: &[f32], weights: &[f32], levels: &mut [u8]) -> Affine {
    let (mut min, mut max) = (x[0], x[0]);
    let (mut w_sum, mut x_sum) = (weights[0], weights[0] * x[0]);
    for (&x, &w) in x.iter().zip(weights).skip(1) {
        min = if x < min { x } else { min };
        max = if x > max { x } else { max };
        w_sum += w;
        x_sum += w * x;
    }
    min = if min > 0.0 { 0.0 } else { min };
    if max == min {
        levels.fill(0);
        return Affine { scale: 0.0, min: -min };
    }

    let top = tries.top as f32;
    let level = |inverse: f32, min: f32, x: f32| nearest_int(inverse * (x - min)).clamp(0, tries.top);
    let error = |scale: f32, min: f32, inverse: f32, start: f32| {
        let mut sum = 0.0f32;
        for (&x, &w) in x.iter().zip(weights) {
            let difference = scale * level(inverse, start, x) as f32 + min - x;
            sum += w * if tries.absolute { difference.abs() } else { difference * difference };
        }
        sum
    };
    let inverse = top / (max - min);
    let mut scale = 1.0 / inverse;
    let mut least = error(scale, min, inverse, min);
    let mut best = (inverse, min); // whose levels are the best so far
    for i in 0..tries.count {
        let inverse = (tries.first + tries.step * i as f32 + top) / (max - min);
        let (mut l_sum, mut ll_sum, mut xl_sum) = (0.0f32, 0.0f32, 0.0f32);
        for (&x, &w) in x.iter().zip(weights) {
            let l = level(inverse, min, x) as f32;
            l_sum += w * l;
            ll_sum += w * l * l;
            xl_sum += w * l * x;
        }
        let determinant = w_sum * ll_sum - l_sum * l_sum;
        if determinant > 0.0 {
            let mut this_scale = (w_sum * xl_sum - x_sum * l_sum) / determinant;
            let mut this_min = (ll_sum * x_sum - l_sum * xl_sum) / determinant;
            if this_min > 0.0 {
                this_min = 0.0;
                this_scale = xl_sum / ll_sum;
            }
            let this_error = error(this_scale, this_min, inverse, min);
            if this_error < least {
                (best, least) = ((inverse, min), this_error);
                (scale, min) = (this_scale, this_min);
            }
        }
    }
    for (to, &x) in levels.iter_mut().zip(x) {
        *to = level(best.0, best.1, x) as u8;
    }
    Affine { scale, min: -min }
}

/// Seeks the scale for levels 0 … `top` of numbers that are not negative (a block's scales): nine tries, then one level
/// after the other is moved while that helps. Some numbers may be a little negative by rounding; their levels wrap, as in
/// ggml's `make_qp_quants`.
pub(super) fn positive(top: i32, x: &[f32], weights: &[f32], levels: &mut [u8]) -> f32 {
    let max = x.iter().fold(0.0f32, |max, &x| if max > x { max } else { x });
    if max < TINY {
        levels.fill(0);
        return 0.0;
    }
    let error = |inverse: f32, level: &dyn Fn(f32) -> i32| {
        let scale = 1.0 / inverse;
        let mut sum = 0.0f32;
        for (&x, &w) in x.iter().zip(weights) {
            let difference = x - scale * level(x) as f32;
            sum += w * difference * difference;
        }
        sum
    };
    let mut inverse = top as f32 / max;
    let mut least = error(inverse, &|x| i32::from(nearest_int(inverse * x) as u8));
    for step in (-4..=4).filter(|&step| step != 0) {
        let this = (0.1 * step as f32 + top as f32) / max;
        let this_error = error(this, &|x| nearest_int(this * x).min(top));
        if this_error < least {
            (least, inverse) = (this_error, this);
        }
    }

    let (mut xl_sum, mut ll_sum) = (0.0f32, 0.0f32);
    for ((&x, &w), to) in x.iter().zip(weights).zip(&mut *levels) {
        let l = nearest_int(inverse * x).min(top);
        *to = l as u8;
        xl_sum += w * x * l as f32;
        ll_sum += w * l as f32 * l as f32;
    }
    for _ in 0..5 {
        let mut changed = false;
        for ((&x, &w), to) in x.iter().zip(weights).zip(&mut *levels) {
            let l = f32::from(*to);
            let mut xl = xl_sum - w * x * l;
            let mut ll = ll_sum - w * l * l;
            if xl > 0.0 && ll > 0.0 {
                let new = nearest_int(x * ll / xl).min(top);
                if new != i32::from(*to) {
                    xl += w * x * new as f32;
                    ll += w * new as f32 * new as f32;
                    if xl * xl * ll_sum > xl_sum * xl_sum * ll {
                        *to = new as u8;
                        (xl_sum, ll_sum, changed) = (xl, ll, true);
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    if ll_sum > 0.0 { xl_sum / ll_sum } else { 0.0 }
}
