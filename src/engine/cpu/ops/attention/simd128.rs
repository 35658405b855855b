//! The same on vectors: each query's sums in the same order, the keys and values that several see read once.

use super::Query;
use crate::engine::cpu::ops::scalar::LANES;
use crate::engine::cpu::ops::simd128::{VECTORS, exp, load, pad, reduce, store};
use core::arch::wasm32::*;
use std::ops::Range;

pub fn attend(queries: &mut [Query], keys: &[f32], values: &[f32], scores: &mut [f32]) {
    match queries {
        [one] => together([one], keys, values, scores),
        [one, other] => together([one, other], keys, values, scores),
        _ => queries.iter_mut().for_each(|one| together([one], keys, values, scores)),
    }
}

fn together<const N: usize>(mut queries: [&mut Query; N], keys: &[f32], values: &[f32], scores: &mut [f32]) {
    let width = queries[0].q.len();
    let q: [&[f32]; N] = queries.each_ref().map(|query| query.q);
    let seen: [Range<usize>; N] = queries.each_ref().map(|query| query.seen.clone());
    let common = common(&seen);
    // What a query sees before and behind the others: a token or none, as a rule.
    let before = seen.each_ref().map(|seen| seen.start..common.start);
    let behind = seen.each_ref().map(|seen| common.end..seen.end);
    let most = scores.len() / N;
    let at = |n: usize, token: usize| n * most + token - seen[n].start;
    let rows = |of: &Range<usize>| of.start * width..of.end * width;
    let scale = 1.0 / (width as f32).sqrt();

    for n in 0..N {
        for token in before[n].clone().chain(behind[n].clone()) {
            let [product] = dots([q[n]], &keys[token * width..][..width]);
            scores[at(n, token)] = product * scale;
        }
    }
    let first: [usize; N] = core::array::from_fn(|n| at(n, common.start));
    for (token, key) in keys[rows(&common)].chunks_exact(width).enumerate() {
        for (first, product) in first.iter().zip(dots(q, key)) {
            scores[first + token] = product * scale;
        }
    }
    let norms: [f32; N] = core::array::from_fn(|n| softmax(&mut scores[n * most..][..seen[n].len()]));

    let shared: [&[f32]; N] = first.map(|first| &scores[first..][..common.len()]);
    let whole = width / LANES * LANES;
    for d in (0..whole).step_by(LANES) {
        let mut sums = [[f32x4_splat(0.0); VECTORS]; N];
        let own = |n: usize, tokens: &Range<usize>, sums: &mut [v128; VECTORS]| {
            for token in tokens.clone() {
                let value = values[token * width + d..].first_chunk().expect("a row of values");
                add(sums, value, scores[at(n, token)]);
            }
        };
        for (n, sums) in sums.iter_mut().enumerate() {
            own(n, &before[n], sums);
        }
        for (token, value) in values[rows(&common)].chunks_exact(width).enumerate() {
            let value = value[d..].first_chunk().expect("a row of values");
            for (sums, scores) in sums.iter_mut().zip(shared) {
                add(sums, value, scores[token]);
            }
        }
        for (n, sums) in sums.iter_mut().enumerate() {
            own(n, &behind[n], sums);
            let out = queries[n].out[d..].first_chunk_mut().expect("as long as a query");
            for (i, sum) in sums.iter().enumerate() {
                store(out, i, f32x4_mul(*sum, f32x4_splat(norms[n])));
            }
        }
    }
    for (n, query) in queries.iter_mut().enumerate() {
        for (d, out) in query.out.iter_mut().enumerate().skip(whole) {
            let terms = seen[n].clone().map(|token| scores[at(n, token)] * values[token * width + d]);
            *out = terms.fold(0.0, |sum, term| sum + term) * norms[n];
        }
    }
}

/// `sums += score · value`.
#[inline(always)]
fn add(sums: &mut [v128; VECTORS], value: &[f32; LANES], score: f32) {
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = f32x4_add(*sum, f32x4_mul(f32x4_splat(score), load(value, i)));
    }
}

/// Products of several queries with a key, each as `ops::dot`.
#[inline(always)]
fn dots<const N: usize>(q: [&[f32]; N], key: &[f32]) -> [f32; N] {
    let mut sums = [[f32x4_splat(0.0); VECTORS]; N];
    let mut multiply = |q: [&[f32; LANES]; N], key: &[f32; LANES]| {
        for i in 0..VECTORS {
            let key = load(key, i);
            for (sums, q) in sums.iter_mut().zip(q) {
                sums[i] = f32x4_add(sums[i], f32x4_mul(load(q, i), key));
            }
        }
    };
    let (chunks, rest) = key.as_chunks();
    let whole = q.map(|q| &q.as_chunks().0[..chunks.len()]);
    for (c, key) in chunks.iter().enumerate() {
        multiply(whole.map(|q| &q[c]), key);
    }
    if !rest.is_empty() {
        let q = q.map(|q| pad(&q[key.len() - rest.len()..]));
        multiply(q.each_ref(), &pad(rest));
    }
    sums.map(reduce)
}

/// Replaces scores by their exponentials, the largest being 1; gives what makes their sum 1.
fn softmax(scores: &mut [f32]) -> f32 {
    let max = scores.iter().fold(f32::NEG_INFINITY, |max, score| if *score > max { *score } else { max });
    let mut sums = [f32x4_splat(0.0); VECTORS];
    let max = f32x4_splat(max);
    let (chunks, rest) = scores.as_chunks_mut();
    for chunk in chunks {
        for (i, sum) in sums.iter_mut().enumerate() {
            let e = exp(f32x4_sub(load(chunk, i), max));
            store(chunk, i, e);
            *sum = f32x4_add(*sum, e);
        }
    }
    let mut padded = pad(rest);
    for i in 0..VECTORS {
        let e = exp(f32x4_sub(load(&padded, i), max));
        store(&mut padded, i, e);
    }
    rest.copy_from_slice(&padded[..rest.len()]);
    padded = pad(rest);
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = f32x4_add(*sum, load(&padded, i));
    }
    1.0 / reduce(sums)
}

/// The tokens that all see.
fn common(seen: &[Range<usize>]) -> Range<usize> {
    let start = seen.iter().map(|seen| seen.start).max().unwrap_or(0);
    let end = seen.iter().map(|seen| seen.end).min().unwrap_or(0);
    start..end.max(start)
}
