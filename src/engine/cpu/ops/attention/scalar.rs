//! The definition.

use super::Query;
use crate::engine::cpu::ops::scalar::{LANES, dot, exp, reduce};

/// `out = Σ softmax(q·k / sqrt(head_dim)) · v` for each query, one after the other.
pub fn attend(queries: &mut [Query], keys: &[f32], values: &[f32], scores: &mut [f32]) {
    for Query { q, seen, out } in queries {
        let width = q.len();
        let scores = &mut scores[..seen.len()];
        let (keys, values) = (&keys[seen.start * width..seen.end * width], &values[seen.start * width..]);
        let scale = 1.0 / (width as f32).sqrt();
        let mut max = f32::NEG_INFINITY;
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(width)) {
            *score = dot(q, key) * scale;
            max = if *score > max { *score } else { max };
        }
        let mut sums = [0.0; LANES];
        for scores in scores.chunks_mut(LANES) {
            for (score, sum) in scores.iter_mut().zip(&mut sums) {
                *score = exp(*score - max);
                *sum += *score;
            }
        }
        out.fill(0.0);
        for (score, value) in scores.iter().zip(values.chunks_exact(width)) {
            for (out, value) in out.iter_mut().zip(value) {
                *out += score * value;
            }
        }
        let norm = 1.0 / reduce(sums);
        for out in out.iter_mut() {
            *out *= norm;
        }
    }
}
