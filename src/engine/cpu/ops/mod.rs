//! Everything but the matrices: normalization, rotation, attention, the gate.
//!
//! `scalar.rs` defines the order of arithmetic, `simd128.rs` keeps it. What is not in `simd128.rs` are loops without
//! reductions, which the compiler vectorizes in every build.

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use crate::engine::Attention;
use crate::quant::Kernels;

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

/// `Σ a·b`, in 16 partial sums: element i goes to partial sum i mod 16, and they are added in halves.
pub fn dot(kernels: Kernels, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(kernels, dot(a, b))
}

/// `out = x / sqrt(mean(x²) + eps) · weight`, one token.
pub fn rms_norm(kernels: Kernels, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = dot(kernels, x, x) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
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

/// Copies the batch's keys and values into the cache, which is `[kv_heads, context, head_dim]`: attention then reads one
/// head's keys in one stream.
pub fn append(qkv: &[f32], tokens: usize, position: usize, shape: &Attention, keys: &mut [f32], values: &mut [f32]) {
    let Attention { heads, kv_heads, head_dim, .. } = *shape;
    let context = keys.len() / (kv_heads * head_dim);
    for (t, row) in qkv.chunks_exact(shape.qkv()).take(tokens).enumerate() {
        let (k, v) = row[heads * head_dim..].split_at(kv_heads * head_dim);
        for head in 0..kv_heads {
            let (from, to) = (head * head_dim, (head * context + position + t) * head_dim);
            keys[to..][..head_dim].copy_from_slice(&k[from..][..head_dim]);
            values[to..][..head_dim].copy_from_slice(&v[from..][..head_dim]);
        }
    }
}

/// `out[t] = softmax(q·k / sqrt(head_dim))·v` over the tokens that each token sees. `scores` is scratch.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    kernels: Kernels,
    qkv: &[f32],
    tokens: usize,
    position: usize,
    shape: &Attention,
    keys: &[f32],
    values: &[f32],
    out: &mut [f32],
    scores: &mut Vec<f32>,
) {
    let Attention { heads, kv_heads, head_dim, window } = *shape;
    let stride = keys.len() / kv_heads; // from one head's keys to the next one's
    for (t, (row, out)) in qkv.chunks_exact(shape.qkv()).zip(out.chunks_exact_mut(heads * head_dim)).enumerate() {
        if t == tokens {
            break;
        }
        let end = position + t + 1;
        let first = window.map_or(0, |window| end.saturating_sub(window));
        scores.resize(end - first, 0.0);
        for head in 0..heads {
            let q = &row[head * head_dim..][..head_dim];
            let seen = head / (heads / kv_heads) * stride + first * head_dim;
            let (k, v) = (&keys[seen..][..scores.len() * head_dim], &values[seen..][..scores.len() * head_dim]);
            dispatch!(kernels, attend(q, k, v, scores, &mut out[head * head_dim..][..head_dim]));
        }
    }
}
