//! Everything but the matrices: normalization, rotation, attention, the gate.
//!
//! `scalar.rs` defines the order of arithmetic, `simd128.rs` keeps it. What is not in `simd128.rs` are loops without
//! reductions, which the compiler vectorizes in every build.

mod attention;
pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use crate::engine::{Norm, Routing};
use crate::quant::Kernels;
pub use attention::{append, attention};

/// Calls the function of that name in the module beside the caller that `kernels` asks for.
macro_rules! dispatch {
    ($kernels:expr, $function:ident($($argument:expr),*)) => {
        match $kernels {
            $crate::quant::Kernels::Scalar => scalar::$function($($argument),*),
            #[cfg(target_feature = "simd128")]
            $crate::quant::Kernels::Simd128 => simd128::$function($($argument),*),
        }
    };
}
use dispatch;

/// `Σ a·b`, in 16 partial sums: element i goes to partial sum i mod 16, and they are added in halves.
pub fn dot(kernels: Kernels, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(kernels, dot(a, b))
}

/// `Σ x`, in 16 partial sums as [`dot`].
pub fn sum(kernels: Kernels, x: &[f32]) -> f32 {
    dispatch!(kernels, sum(x))
}

/// `out = (x − m) / sqrt(mean((x − m)²) + eps) · weight + bias`, one token; m is the mean, or 0.
pub fn norm(kernels: Kernels, kind: Norm, x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let mean = match kind {
        Norm::Rms => 0.0,
        Norm::Layer => sum(kernels, x) / x.len() as f32,
    };
    for (out, x) in out.iter_mut().zip(x) {
        *out = x - mean;
    }
    let variance = dot(kernels, out, out) / x.len() as f32;
    let scale = 1.0 / (variance + eps).sqrt();
    for (out, weight) in out.iter_mut().zip(weight) {
        *out = *out * scale * weight;
    }
    for (out, bias) in out.iter_mut().zip(bias.into_iter().flatten()) {
        *out += bias;
    }
}

/// Rotates the pairs (a, b) by their angles.
pub fn rotate(a: &mut [f32], b: &mut [f32], cosines: &[f32], sines: &[f32]) {
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cosines).zip(sines) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// `out = silu(gate) · up`.
pub fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + scalar::exp(-gate)) * up;
    }
}

/// `out = gelu(x)` by the formula with tanh, which is `x · sigmoid(2u)`.
pub fn gelu(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        let u = SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x);
        *out = x / (1.0 + scalar::exp(-2.0 * u));
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// One token's experts, best first, and their weights: the law of [`crate::engine::Backend::route`].
pub fn route(routing: Routing, scores: &[f32], experts: &mut [f32], weights: &mut [f32]) {
    for (k, weight) in weights.iter_mut().enumerate() {
        let (chosen, open) = experts.split_at_mut(k);
        let taken = |i: usize| chosen.iter().any(|&expert| expert as usize == i);
        let mut best = None;
        for (i, &score) in scores.iter().enumerate() {
            if !taken(i) && best.is_none_or(|(_, most)| score > most) {
                best = Some((i, score));
            }
        }
        let (best, score) = best.expect("fewer experts are used than there are");
        *weight = match routing {
            Routing::SparseMixer { jitter } => {
                let close = |other: f32| score - other <= 2.0 * jitter * other.abs().max(score);
                let others = scores.iter().enumerate().filter(|(i, other)| !taken(*i) && close(**other));
                1.0 / others.map(|(_, other)| scalar::exp(other - score)).sum::<f32>()
            }
            Routing::Softmax => scalar::exp(score - if k == 0 { score } else { scores[chosen[0] as usize] }),
        };
        open[0] = best as f32;
    }
    if routing == Routing::Softmax {
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
}

/// `out = Σ_k weights[k] · x[k]`: one token, `x` with a row for each of its experts.
pub fn combine(x: &[f32], weights: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (x, weight) in x.chunks_exact(out.len()).zip(weights) {
        for (out, x) in out.iter_mut().zip(x) {
            *out += weight * x;
        }
    }
}
