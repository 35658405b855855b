//! Every operation of the CPU backend: against f64 arithmetic within a bound, and all implementations bit for bit equal.
//!
//! Native, there is the scalar one; `tests/wasm_engine.rs` runs this same file in wasm, where SIMD128 joins it.

mod common;

use common::{max_difference, ready};
use phiquant::engine::cpu::Cpu;
use phiquant::engine::{Attention, Backend, Norm, Routing, Slots};
use phiquant::num::mix;
use phiquant::quant::{Kernels, SCHEMES, Scheme};
use phiquant::tensor::DType;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// `len` numbers in ±1, with an outlier here and there, as activations have them.
fn random(seed: u64, len: usize) -> Vec<f32> {
    let number = |n: u64| {
        let bits = mix(mix(seed).wrapping_add(n));
        let scale = if bits.is_multiple_of(97) { 20.0 } else { 1.0 };
        scale * ((bits >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..len as u64).map(number).collect()
}

/// Runs `compute` on every implementation, checks that all give the same bits, and gives them.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, compute: impl Fn(&Cpu) -> T) -> T {
    let expected = compute(&Cpu::new(Kernels::Scalar));
    for kernels in Kernels::ALL {
        assert!(compute(&Cpu::new(*kernels)) == expected, "{what}: {} differs from scalar", kernels.name());
    }
    expected
}

fn buffer(cpu: &Cpu, data: &[f32]) -> Vec<f32> {
    cpu.upload(data).unwrap()
}

/// A matrix in the scheme's bytes, and what they mean.
fn quantized(scheme: &dyn Scheme, seed: u64, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let dtype = scheme.spec().dtype;
    let mut bytes = vec![0; rows * dtype.row_bytes(cols as u64).unwrap() as usize];
    scheme.quantize(Kernels::Scalar, &random(seed, rows * cols), cols, None, &mut [&mut bytes]).unwrap();
    let mut values = vec![0.0; rows * cols];
    scheme.dequantize(Kernels::Scalar, &[&bytes], cols, &mut values);
    (bytes, values)
}

/// A matrix of blocks with any bits at all, as long as they mean numbers of a size that sums can hold: the extremes of levels
/// and factors that a quantizer hardly ever writes.
fn arbitrary(scheme: &dyn Scheme, seed: u64, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let dtype = scheme.spec().dtype;
    let mut bytes = vec![0; rows * cols / dtype.group * dtype.group_bytes];
    let mut values = vec![0.0; rows * cols];
    let mut bits = mix(seed);
    for (bytes, values) in bytes.chunks_exact_mut(dtype.group_bytes).zip(values.chunks_exact_mut(dtype.group)) {
        loop {
            bytes.fill_with(|| {
                bits = mix(bits);
                bits as u8
            });
            scheme.dequantize(Kernels::Scalar, &[bytes], dtype.group, values);
            if values.iter().all(|value| value.abs() < 1e6) {
                break;
            }
        }
    }
    (bytes, values)
}

/// What rounding activations may change: half a level, which is 1/16383 of the largest in a block of 32.
fn rounding(w: &[f32], x: &[f32]) -> f64 {
    let block = |(w, x): (&[f32], &[f32])| {
        let max = x.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        f64::from(w.iter().map(|w| w.abs()).sum::<f32>() * max) / (2.0 * 16383.0)
    };
    w.chunks(32).zip(x.chunks(32)).map(block).sum()
}

#[test]
fn matmul_of_every_scheme() {
    // Rows that fill no tile, tokens on both sides of every way of computing, columns of one block and of several.
    for (n, (rows, blocks, tokens)) in
        [(1, 1, 1), (8, 2, 2), (13, 1, 3), (16, 3, 4), (27, 2, 9), (9, 5, 67)].into_iter().enumerate()
    {
        for scheme in SCHEMES {
            let cols = blocks * scheme.spec().dtype.group.max(32);
            for matrix in [quantized(*scheme, n as u64, rows, cols), arbitrary(*scheme, n as u64, rows, cols)] {
                check_matmul(scheme.spec().dtype, matrix, cols, tokens);
            }
        }
    }
}

fn check_matmul(dtype: DType, (bytes, weights): (Vec<u8>, Vec<f32>), cols: usize, tokens: usize) {
    let rows = weights.len() / cols;
    let x = random(99, tokens * cols);
    let what = format!("{} [{rows}, {cols}] · {tokens}", dtype.name);
    let ours = same(&what, |cpu| {
        let mut matrix = cpu.matrix(dtype, rows, cols).unwrap();
        let middle = rows / 2 * (bytes.len() / rows);
        cpu.fill(&mut matrix, rows / 2, &bytes[middle..]).unwrap();
        cpu.fill(&mut matrix, 0, &bytes[..middle]).unwrap();
        let mut out = cpu.buffer(tokens * rows).unwrap();
        cpu.matmul(&matrix, &buffer(cpu, &x), tokens, &mut out).unwrap();
        out
    });
    for (i, ours) in ours.iter().enumerate() {
        let (w, x) = (&weights[i % rows * cols..][..cols], &x[i / rows * cols..][..cols]);
        let products = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
        let (exact, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
        let bound = if dtype.group == 1 { 0.0 } else { rounding(w, x) } + 1e-6 * size;
        assert!((f64::from(*ours) - exact).abs() <= bound, "{what} at {i}: {ours}, not {exact}");
    }
}

#[test]
fn a_token_does_not_depend_on_its_batch() {
    for scheme in SCHEMES {
        let dtype = scheme.spec().dtype;
        let (rows, cols, tokens) = (21, 2 * dtype.group.max(32), 14);
        let (bytes, _) = quantized(*scheme, 5, rows, cols);
        let x = random(6, tokens * cols);
        let cpu = Cpu::default();
        let mut matrix = cpu.matrix(dtype, rows, cols).unwrap();
        cpu.fill(&mut matrix, 0, &bytes).unwrap();
        let product = |tokens: std::ops::Range<usize>| {
            let mut out = cpu.buffer(tokens.len() * rows).unwrap();
            let x = buffer(&cpu, &x[tokens.start * cols..tokens.end * cols]);
            cpu.matmul(&matrix, &x, tokens.len(), &mut out).unwrap();
            out
        };
        let whole = product(0..tokens);
        for size in [1, 2, 3, 5] {
            let parts = (0..tokens).step_by(size).flat_map(|t| product(t..tokens.min(t + size)));
            assert!(parts.eq(whole.iter().copied()), "{} by {size}", dtype.name);
        }
    }
}

#[test]
fn embed_gives_the_rows() {
    for scheme in SCHEMES {
        let dtype = scheme.spec().dtype;
        let (rows, cols, tokens) = (19, dtype.group.max(64), [18, 0, 7, 8, 7]);
        let (bytes, values) = quantized(*scheme, 3, rows, cols);
        let ours = same(dtype.name, |cpu| {
            let mut table = cpu.matrix(dtype, rows, cols).unwrap();
            cpu.fill(&mut table, 0, &bytes).unwrap();
            let mut out = cpu.buffer(tokens.len() * cols).unwrap();
            cpu.embed(&table, &tokens, &mut out).unwrap();
            out
        });
        let expected: Vec<f32> =
            tokens.iter().flat_map(|t| values[*t as usize * cols..][..cols].iter().copied()).collect();
        // Q6_K's scheme rounds scale · sub-scale first.
        assert!(max_difference(&ours, &expected) <= 2e-6 * 20.0, "{}", dtype.name);
    }
}

#[test]
fn activations_that_are_no_numbers_are_not_hidden() {
    for bad in [f32::NAN, f32::INFINITY] {
        for scheme in SCHEMES {
            let dtype = scheme.spec().dtype;
            let cols = 2 * dtype.group.max(32);
            let (bytes, _) = quantized(*scheme, 1, 4, cols);
            let mut x = random(2, cols);
            x[cols / 2 + 3] = bad;
            for kernels in Kernels::ALL {
                let cpu = Cpu::new(*kernels);
                let mut matrix = cpu.matrix(dtype, 4, cols).unwrap();
                cpu.fill(&mut matrix, 0, &bytes).unwrap();
                let mut out = cpu.buffer(4).unwrap();
                cpu.matmul(&matrix, &buffer(&cpu, &x), 1, &mut out).unwrap();
                assert!(out.iter().all(|x| !x.is_finite()), "{} {}", dtype.name, kernels.name());
            }
        }
    }
}

/// A head of one token in f64: the law of [`Backend::attention`].
fn attend(q: &[f32], keys: &[&[f32]], values: &[&[f32]]) -> Vec<f32> {
    let product = |k: &&[f32]| q.iter().zip(*k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|k| product(k) / (q.len() as f64).sqrt()).collect();
    let max = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mix = |d: usize| values.iter().zip(&weights).map(|(v, w)| f64::from(v[d]) * w).sum::<f64>() / sum;
    (0..q.len()).map(|d| mix(d) as f32).collect()
}

#[test]
fn attention_over_a_growing_cache() {
    for (heads, kv_heads, head_dim, window) in
        [(4, 4, 16, None), (6, 2, 24, None), (2, 1, 96, Some(5)), (3, 3, 8, Some(1)), (8, 2, 64, Some(40))]
    {
        let shape = Attention { heads, kv_heads, head_dim, window };
        let (batches, context) = ([5, 1, 30, 1, 16], 64);
        let tokens: usize = batches.iter().sum();
        let qkv = random(heads as u64, tokens * shape.qkv());
        let ours = same("attention", |cpu| {
            let mut keys = cpu.buffer(context * kv_heads * head_dim).unwrap();
            let mut values = cpu.buffer(context * kv_heads * head_dim).unwrap();
            let mut all = Vec::new();
            let mut position = 0;
            for n in batches {
                let rows = buffer(cpu, &qkv[position * shape.qkv()..(position + n) * shape.qkv()]);
                let mut out = cpu.buffer(n * heads * head_dim).unwrap();
                cpu.attention(&rows, n, position, &shape, &mut keys, &mut values, &mut out).unwrap();
                all.extend(ready(cpu.read(&out, n * heads * head_dim)).unwrap());
                position += n;
            }
            all
        });
        let part = |t: usize, head: usize| &qkv[t * shape.qkv() + head * head_dim..][..head_dim];
        let mut expected = Vec::new();
        for t in 0..tokens {
            let seen = window.map_or(0, |w| (t + 1usize).saturating_sub(w))..t + 1;
            for head in 0..heads {
                let shared = head / (heads / kv_heads);
                let keys: Vec<_> = seen.clone().map(|t| part(t, heads + shared)).collect();
                let values: Vec<_> = seen.clone().map(|t| part(t, heads + kv_heads + shared)).collect();
                expected.extend(attend(part(t, head), &keys, &values));
            }
        }
        let difference = max_difference(&ours, &expected);
        assert!(difference < 3e-5, "{shape:?}: {difference}");
    }
}

#[test]
fn rotation_turns_pairs_and_leaves_values() {
    let shape = Attention { heads: 2, kv_heads: 1, head_dim: 8, window: None };
    let (pairs, positions) = (3, 4);
    let angle = |position: usize, pair: usize| 0.3 * position as f32 + pair as f32;
    let mut table = Vec::new();
    for position in 0..positions {
        table.extend((0..pairs).map(|pair| angle(position, pair).cos()));
        table.extend((0..pairs).map(|pair| angle(position, pair).sin()));
    }
    let input = random(1, 2 * shape.qkv());
    let ours = same("rope", |cpu| {
        let mut qkv = buffer(cpu, &input);
        cpu.rope(&mut qkv, 2, 2, &shape, pairs, &buffer(cpu, &table)).unwrap();
        qkv
    });
    for (i, (ours, x)) in ours.iter().zip(&input).enumerate() {
        let (t, head, d) = (i / shape.qkv(), i % shape.qkv() / 8, i % 8);
        let expected = match (head, d) {
            (0..3, 0..3) => x * angle(2 + t, d).cos() - input[i + 3] * angle(2 + t, d).sin(),
            (0..3, 3..6) => x * angle(2 + t, d - 3).cos() + input[i - 3] * angle(2 + t, d - 3).sin(),
            _ => *x, // beyond the rotated part, and values
        };
        assert!((ours - expected).abs() < 4e-6, "{i}");
    }
}

#[test]
fn norms_gates_and_sums() {
    let (width, tokens, eps) = (90, 3, 1e-5);
    let (x, y, weight) = (random(1, width * tokens), random(2, width * tokens), random(3, width));
    let normed = |kind: Norm, bias: Option<&[f32]>| {
        same("norm", |cpu| {
            let mut out = cpu.buffer(width * tokens).unwrap();
            let bias = bias.map(|bias| buffer(cpu, bias));
            let (x, weight) = (buffer(cpu, &x), buffer(cpu, &weight));
            cpu.norm(kind, &x, tokens, &weight, bias.as_ref(), eps, &mut out).unwrap();
            out
        })
    };
    let normed = [normed(Norm::Rms, None), normed(Norm::Layer, Some(&y[..width]))];
    let bent = same("gelu", |cpu| {
        let mut out = cpu.buffer(width * tokens).unwrap();
        cpu.gelu(&buffer(cpu, &x), width * tokens, &mut out).unwrap();
        out
    });
    let gated = same("swiglu", |cpu| {
        let mut out = cpu.buffer(width / 2 * tokens).unwrap();
        cpu.swiglu(&buffer(cpu, &x), tokens, width / 2, &mut out).unwrap();
        out
    });
    let biased = same("add", |cpu| {
        let mut out = buffer(cpu, &x);
        cpu.add(&mut out, &buffer(cpu, &weight), width * (tokens - 1)).unwrap();
        out
    });
    let summed = same("add", |cpu| {
        let mut out = buffer(cpu, &x);
        cpu.add(&mut out, &buffer(cpu, &y), width).unwrap();
        out
    });
    for t in 0..tokens {
        let x = &x[t * width..][..width];
        let mean = |of: &dyn Fn(f64) -> f64| x.iter().map(|x| of(f64::from(*x))).sum::<f64>() / width as f64;
        let center = mean(&|x| x);
        let (square, variance) = (mean(&|x| x.powi(2)), mean(&|x| (x - center).powi(2)));
        for (d, (x, weight)) in x.iter().zip(&weight).enumerate() {
            let (x, weight) = (f64::from(*x), f64::from(*weight));
            let rms = x / (square + f64::from(eps)).sqrt() * weight;
            let layer = (x - center) / (variance + f64::from(eps)).sqrt() * weight + f64::from(y[d]);
            for (normed, expected) in normed.iter().zip([rms, layer]) {
                assert!((f64::from(normed[t * width + d]) - expected).abs() < 2e-5);
            }
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let expected = x / 2.0 * (1.0 + inner.tanh());
            assert!((f64::from(bent[t * width + d]) - expected).abs() < 1e-6 * (1.0 + expected.abs()));
            let added = if t + 1 < tokens { weight as f32 } else { 0.0 };
            assert_eq!(biased[t * width + d], x as f32 + added);
        }
        let (gates, ups) = x.split_at(width / 2);
        for (d, (gate, up)) in gates.iter().zip(ups).enumerate() {
            let (gate, up) = (f64::from(*gate), f64::from(*up));
            let expected = gate / (1.0 + (-gate).exp()) * up;
            assert!((f64::from(gated[t * width / 2 + d]) - expected).abs() < 1e-6 * (1.0 + expected.abs()));
        }
    }
    for (i, sum) in summed.iter().enumerate() {
        assert_eq!(*sum, if i < width { x[i] + y[i] } else { x[i] });
    }
}

/// A token's experts and weights in f64: the law of [`Backend::route`], written as transformers writes it.
fn choose(routing: Routing, scores: &[f64]) -> Vec<(usize, f64)> {
    let mut left = scores.to_vec();
    let mut chosen = Vec::new();
    for _ in 0..2 {
        let (best, most) = (0..left.len()).fold((0, f64::MIN), |a, i| if left[i] > a.1 { (i, left[i]) } else { a });
        let weight = match routing {
            Routing::SparseMixer { jitter } => {
                let masked = |i: &usize| (most - scores[*i]) / scores[*i].abs().max(most) > 2.0 * f64::from(jitter);
                let close = (0..left.len()).filter(|i| !masked(i)).map(|i| (left[i] - most).exp());
                1.0 / close.sum::<f64>()
            }
            Routing::Softmax => most.exp(),
        };
        chosen.push((best, weight));
        left[best] = f64::NEG_INFINITY;
    }
    let sum = if routing == Routing::Softmax { chosen.iter().map(|(_, weight)| weight).sum() } else { 1.0 };
    chosen.iter().map(|(best, weight)| (*best, weight / sum)).collect()
}

#[test]
fn tokens_find_their_experts() {
    let (tokens, count) = (200, 16);
    // Scores that are close to each other, positive, negative, and of both signs; and ones that are equal.
    let mut scores = random(7, tokens * count);
    for (t, scores) in scores.chunks_exact_mut(count).enumerate() {
        let (center, spread) = [(3.0, 0.1), (-3.0, 0.1), (0.0, 1.0), (8.0, 1.0), (0.0, 0.0)][t % 5];
        scores.iter_mut().for_each(|score| *score = center + spread * *score);
    }
    let slots = Slots { tokens, used: 2, own: false };
    for routing in [Routing::SparseMixer { jitter: 0.01 }, Routing::Softmax] {
        let routes = same("route", |cpu| {
            let mut routes = cpu.buffer(tokens * 4).unwrap();
            cpu.route(routing, &buffer(cpu, &scores), count, slots, &mut routes).unwrap();
            routes
        });
        let mut shared = 0;
        for (scores, routes) in scores.chunks_exact(count).zip(routes.chunks_exact(4)) {
            let scores: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
            for (k, (expert, weight)) in choose(routing, &scores).into_iter().enumerate() {
                assert_eq!(routes[k], expert as f32, "{routing:?} {scores:?}");
                assert!((f64::from(routes[2 + k]) - weight).abs() < 1e-5, "{routing:?} {routes:?}, not {weight}");
                shared += usize::from(weight < 0.999);
            }
        }
        assert!(shared > 100, "weights below 1 are tested too");
    }
}

#[test]
fn each_slot_is_multiplied_by_its_expert() {
    for scheme in SCHEMES.iter().take(4) {
        let dtype = scheme.spec().dtype;
        // Odd sizes: tiles do not fill an expert's rows.
        let (count, rows, cols, tokens, used) = (5, 13, 2 * dtype.group.max(32), 9, 2);
        let (bytes, _) = quantized(*scheme, 8, count * rows, cols);
        let experts: Vec<usize> = (0..tokens * used).map(|slot| (slot * slot + slot / 3) % count).collect();
        let routes: Vec<f32> = experts
            .chunks_exact(used)
            .flat_map(|pair| pair.iter().map(|e| *e as f32).chain([0.25, 0.5]).collect::<Vec<_>>())
            .collect();
        let x = random(3, tokens * used * cols);
        for own in [false, true] {
            let slots = Slots { tokens, used, own };
            let (first, width) = (4, rows + 7);
            let ours = same(dtype.name, |cpu| {
                let mut stack = cpu.stack(dtype, count, rows, cols).unwrap();
                let middle = bytes.len() / (count * rows) * 31;
                cpu.fill(&mut stack, 31, &bytes[middle..]).unwrap();
                cpu.fill(&mut stack, 0, &bytes[..middle]).unwrap();
                let mut out = buffer(cpu, &vec![-7.0; tokens * used * width]);
                let (routes, x) = (buffer(cpu, &routes), buffer(cpu, &x));
                cpu.matmul_routed(&stack, &routes, &x, slots, first, width, &mut out).unwrap();
                let mut mixed = cpu.buffer(tokens * width).unwrap();
                cpu.combine(&out, &routes, slots, width, &mut mixed).unwrap();
                (out, mixed)
            });
            let cpu = Cpu::default();
            for (slot, expert) in experts.iter().enumerate() {
                let mut matrix = cpu.matrix(dtype, rows, cols).unwrap();
                let expert_bytes = bytes.len() / count;
                cpu.fill(&mut matrix, 0, &bytes[expert * expert_bytes..][..expert_bytes]).unwrap();
                let line = if own { slot } else { slot / used };
                let mut expected = buffer(&cpu, &vec![-7.0; width]);
                let x = buffer(&cpu, &x[line * cols..][..cols]);
                cpu.matmul_at(&matrix, &x, 1, first, width, &mut expected).unwrap();
                assert_eq!(ours.0[slot * width..][..width], expected, "{} slot {slot}", dtype.name);
            }
            for (i, mixed) in ours.1.iter().enumerate() {
                let pair = &ours.0[i / width * used * width + i % width..];
                assert_eq!(*mixed, 0.25 * pair[0] + 0.5 * pair[width]);
            }
        }
    }
}

#[test]
fn matrices_side_by_side_fill_their_columns() {
    for scheme in SCHEMES.iter().take(4) {
        let dtype = scheme.spec().dtype;
        let (rows, cols) = (13, 2 * dtype.group.max(32));
        let (bytes, _) = quantized(*scheme, 4, rows, cols);
        for tokens in [1, 2, 11] {
            let x = random(9, tokens * cols);
            let (alone, beside) = same(dtype.name, |cpu| {
                let mut matrix = cpu.matrix(dtype, rows, cols).unwrap();
                cpu.fill(&mut matrix, 0, &bytes).unwrap();
                let (mut alone, mut beside) = (cpu.buffer(tokens * rows).unwrap(), cpu.buffer(tokens * 40).unwrap());
                cpu.matmul(&matrix, &buffer(cpu, &x), tokens, &mut alone).unwrap();
                cpu.matmul_at(&matrix, &buffer(cpu, &x), tokens, 20, 40, &mut beside).unwrap();
                (alone, beside)
            });
            for (i, beside) in beside.iter().enumerate() {
                let (t, column) = (i / 40, i % 40);
                let expected = if (20..20 + rows).contains(&column) { alone[t * rows + column - 20] } else { 0.0 };
                assert_eq!(*beside, expected, "{}", dtype.name);
            }
        }
    }
}
