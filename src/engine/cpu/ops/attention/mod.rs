//! Attention over the cache: queries that see nearly the same tokens go two at a time, which reads keys and values once for both.

mod scalar;
#[cfg(target_feature = "simd128")]
mod simd128;

use super::dispatch;
use crate::engine::Attention;
use crate::quant::Kernels;
use std::ops::Range;

/// One head of one token.
pub struct Query<'a> {
    /// `[head_dim]`, as `out`.
    q: &'a [f32],
    /// The tokens that it sees: at least itself.
    seen: Range<usize>,
    out: &'a mut [f32],
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
    let sharing = heads / kv_heads;
    scores.resize(2 * (position + tokens), 0.0);
    for (kv_head, (keys, values)) in keys.chunks_exact(stride).zip(values.chunks_exact(stride)).enumerate() {
        // Token by token, the heads that share these keys and values beside each other.
        let place = |n: usize| (n / sharing, kv_head * sharing + n % sharing);
        let range = |n: usize| {
            let (t, head) = place(n);
            (t * heads + head) * head_dim..(t * heads + head + 1) * head_dim
        };
        let seen = |n: usize| {
            let end = position + place(n).0 + 1;
            window.map_or(0, |window| end.saturating_sub(window))..end
        };
        let q = |n: usize| {
            let (t, head) = place(n);
            &qkv[t * shape.qkv() + head * head_dim..][..head_dim]
        };
        let count = tokens * sharing;
        for n in (0..count).step_by(2) {
            if n + 1 == count {
                let one = Query { q: q(n), seen: seen(n), out: &mut out[range(n)] };
                dispatch!(kernels, attend(&mut [one], keys, values, scores));
                break;
            }
            let [a, b] = out.get_disjoint_mut([range(n), range(n + 1)]).expect("each query has its own place");
            let [one, other] = [(n, a), (n + 1, b)].map(|(n, out)| Query { q: q(n), seen: seen(n), out });
            dispatch!(kernels, attend(&mut [one, other], keys, values, scores));
        }
    }
}
