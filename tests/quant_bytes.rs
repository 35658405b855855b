//! The schemes against ggml's own bytes, and against each other: one body for every implementation that can run here.
//!
//! Native, there is the scalar one; `tests/wasm.rs` runs this same file in wasm, where SIMD128 joins it.

mod quant_common;

use phiquant::ErrorKind;
use phiquant::quant::{Kernels, SCHEMES, Scheme, by_ggml_type, by_name, convert, error_sums};
use quant_common::generate::{COLS, KINDS, generate, hash, importance};
use quant_common::{dequantize, digest, f32_bytes, hex, quantize, quantize_with};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[derive(serde::Deserialize)]
struct Fixtures {
    fma_instructions_in_libggml_base: u32,
    f16_to_f32: String,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    scheme: String,
    kind: String,
    seed: u64,
    weights: usize,
    input: String,
    importance: Option<String>,
    bytes: Option<String>,
    digest: Option<String>,
    restored: String,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("fixtures/quant/ggml.json")).unwrap()
}

/// The scheme's group, or a row for the schemes that have none.
fn cols(scheme: &dyn Scheme) -> usize {
    scheme.spec().dtype.group.max(32)
}

#[test]
fn equals_ggml() {
    let fixtures = fixtures();
    assert_eq!(fixtures.fma_instructions_in_libggml_base, 0, "the fixtures' ggml must not contract to FMA");
    for scheme in SCHEMES {
        assert!(fixtures.cases.iter().any(|case| case.scheme == scheme.spec().dtype.name));
    }
    for case in fixtures.cases {
        let place = format!("{} of {} {} weights", case.scheme, case.weights, case.kind);
        let rows = generate(&case.kind, case.seed, case.weights);
        assert_eq!(digest(&f32_bytes(&rows)), case.input, "the generator differs from the fixtures': {place}");
        let scheme = by_name(&case.scheme).unwrap();
        let weighted = case.importance.is_some();
        let importance = weighted.then(|| importance(case.seed));
        let importance = importance.as_deref();
        assert_eq!(importance.map(|weights| digest(&f32_bytes(weights))), case.importance, "the generator: {place}");
        let cols = if weighted { COLS } else { cols(scheme) };
        for &kernels in Kernels::ALL {
            let place = format!("{place}, importance: {weighted}, {}", kernels.name());
            let bytes = quantize_with(scheme, kernels, &rows, cols, importance).expect(&place);
            if let Some(expected) = &case.bytes {
                assert_eq!(&hex(&bytes), expected, "{place}");
            }
            if let Some(expected) = &case.digest {
                assert_eq!(&digest(&bytes), expected, "{place}");
            }
            assert!(case.bytes.is_some() || case.digest.is_some(), "nothing to compare: {place}");
            let restored = dequantize(scheme, kernels, &bytes, cols);
            assert_eq!(digest(&f32_bytes(&restored)), case.restored, "restored: {place}");
        }
    }
}

#[test]
fn f16_to_f32_equals_ggml() {
    let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for &kernels in Kernels::ALL {
        let mut values = dequantize(by_name("F16").unwrap(), kernels, &halves, 32);
        for value in &mut values {
            if value.is_nan() {
                *value = 0.0;
            }
        }
        assert_eq!(digest(&f32_bytes(&values)), fixtures().f16_to_f32, "{}", kernels.name());
    }
}

/// Every implementation writes what the first writes, on every distribution, for whole and odd numbers of groups.
#[test]
fn implementations_agree() {
    for scheme in SCHEMES {
        let group = scheme.spec().dtype.group;
        for (number, kind) in KINDS.iter().enumerate() {
            for groups in [1, 2, 3, 4, 5, 7, 64, 131] {
                let rows = generate(kind, 77 + number as u64 * 1000 + groups as u64, groups * group);
                let expected = quantize(*scheme, Kernels::Scalar, &rows, group).unwrap();
                let restored = dequantize(*scheme, Kernels::Scalar, &expected, group);
                for &kernels in Kernels::ALL {
                    let place = format!("{}, {groups} groups of {kind}, {}", scheme.spec().dtype.name, kernels.name());
                    assert!(quantize(*scheme, kernels, &rows, group).unwrap() == expected, "{place}");
                    let bits = |rows: &[f32]| rows.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
                    assert!(bits(&dequantize(*scheme, kernels, &expected, group)) == bits(&restored), "{place}");
                }
            }
        }
    }
}

/// So do they with an importance matrix, of any distribution.
#[test]
fn implementations_agree_on_importance() {
    for scheme in SCHEMES {
        for (number, kind) in KINDS.iter().enumerate() {
            let seed = 500 + number as u64;
            let rows = generate(kind, seed, 5 * COLS);
            let wild: Vec<f32> =
                generate(["heavy", "wild", "zero"][number % 3], seed, COLS).iter().map(|w| w.abs()).collect();
            for importance in [importance(seed), wild] {
                let expected = quantize_with(*scheme, Kernels::Scalar, &rows, COLS, Some(&importance));
                for &kernels in Kernels::ALL {
                    let found = quantize_with(*scheme, kernels, &rows, COLS, Some(&importance));
                    assert!(found == expected, "{}, {kind}, {}", scheme.spec().dtype.name, kernels.name());
                }
            }
        }
    }
}

/// Weights of any bits, whose exponents lie in a band that moves from group to group through the whole range: the same
/// bytes, or the same error.
#[test]
fn implementations_agree_on_any_bits() {
    for scheme in SCHEMES {
        let dtype = scheme.spec().dtype;
        let group = dtype.group.max(32);
        let (mut fine, mut refused) = (0, 0);
        for round in 0..600 {
            let (lowest, width) = (hash(round, 1, 0) % 256, 1 + hash(round, 1, 1) % 24);
            let weight = |i| {
                let exponent = (lowest + hash(round, 3, i) % width).min(255);
                f32::from_bits(hash(round, 2, i) as u32 & 0x807f_ffff | (exponent as u32) << 23)
            };
            let rows: Vec<f32> = (0..5 * group as u64).map(weight).collect();
            let expected = quantize(*scheme, Kernels::Scalar, &rows, group);
            for &kernels in Kernels::ALL {
                let found = quantize(*scheme, kernels, &rows, group);
                assert!(found == expected, "{}, {}, round {round}", dtype.name, kernels.name());
            }
            if expected.is_ok() { fine += 1 } else { refused += 1 }
        }
        assert!(fine > 200 && refused > 20, "{}: {fine} fine, {refused} refused", dtype.name);
    }
}

/// Any bytes decode alike: infinite and NaN scales of a hostile file included (all NaNs count as one).
#[test]
fn implementations_agree_on_any_bytes() {
    for scheme in SCHEMES {
        let dtype = scheme.spec().dtype;
        let bytes: Vec<u8> = (0..dtype.group_bytes as u64 * 500).map(|i| hash(5, 5, i) as u8).collect();
        let bits =
            |rows: Vec<f32>| -> Vec<u32> { rows.iter().map(|w| if w.is_nan() { 1 } else { w.to_bits() }).collect() };
        let expected = bits(dequantize(*scheme, Kernels::Scalar, &bytes, dtype.group));
        for &kernels in Kernels::ALL {
            let found = bits(dequantize(*scheme, kernels, &bytes, dtype.group));
            assert!(found == expected, "{}, {}", dtype.name, kernels.name());
        }
    }
}

/// f32 to f16 and bf16 near every rounding boundary: each exponent, mantissas at and around the halves.
#[test]
fn float_rounding_agrees_at_the_boundaries() {
    let mut rows = Vec::new();
    for exponent in 0..143u32 {
        for pattern in 0..64u32 {
            for low in [0u32, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x7fff, 0x8000, 0x8001, 0x1_8000] {
                let bits = exponent << 23 | (pattern.wrapping_mul(0x2_2000) & 0x7f_0000) ^ low;
                let bits = bits.min(0x477f_efff); // the last that f16 rounds down: just under 65520
                rows.extend([f32::from_bits(bits), f32::from_bits(bits | 1 << 31)]);
            }
        }
    }
    rows.truncate(rows.len() / 32 * 32);
    for name in ["F16", "BF16"] {
        let scheme = by_name(name).unwrap();
        let expected: Vec<u8> = rows
            .iter()
            .flat_map(|&w| match name {
                "F16" => half::f16::from_f32_const(w).to_le_bytes(),
                _ => half::bf16::from_f32_const(w).to_le_bytes(),
            })
            .collect();
        for &kernels in Kernels::ALL {
            assert!(quantize(scheme, kernels, &rows, 32).unwrap() == expected, "{name}, {}", kernels.name());
        }
    }
}

#[test]
fn not_finite_weights_are_named() {
    for scheme in SCHEMES {
        let (name, cols) = (scheme.spec().dtype.name, scheme.spec().dtype.group.max(256));
        for at in [0, 5, 31, 32, 63, 64, 100, 255, 256, 300, 511, 512, 800, 1279] {
            for (bad, word) in
                [(f32::NAN, "NaN"), (-f32::NAN, "NaN"), (f32::INFINITY, "infinite"), (-f32::INFINITY, "infinite")]
            {
                let mut rows = generate("gaussian", 3, 5 * cols);
                rows[at] = bad;
                rows[at + 1..].iter_mut().step_by(7).for_each(|w| *w = f32::NAN);
                for &kernels in Kernels::ALL {
                    let error = quantize(*scheme, kernels, &rows, cols).unwrap_err();
                    assert_eq!(error.kind, ErrorKind::NotFinite);
                    let expected =
                        format!("weight {at} of the rows given (row {}, column {}) is {word}", at / cols, at % cols);
                    assert!(error.message.starts_with(&expected), "{name}, {}: {error}", kernels.name());
                }
            }
        }
    }
}

/// Finite weights that a scheme's scale cannot follow: an error in every implementation, and just below it, none.
#[test]
fn overflow_is_an_error() {
    // The largest magnitude that each takes where all else in the group is zero, and one that it does not.
    let limits = [
        ("F16", 65519.996, 65520.0),
        ("BF16", 3.3961e38, f32::MAX),
        ("Q8_0", 65519.996 * 127.0, 65520.0 * 127.0),
        ("Q4_0", 65519.996 * 8.0, 65520.0 * 8.0),
        ("Q2_K", 65519.996 * 15.0, 65520.0 * 46.0),
        ("Q3_K", 65519.996 * 32.0 * 3.5, 65520.0 * 32.0 * 4.5),
        ("Q4_K", 65519.996 * 63.0, 65520.0 * 63.0 * 15.5),
        ("Q4_K", 65519.996 * 63.0, 1e13),
        ("Q4_K", 65519.996 * 63.0, f32::MAX),
        ("Q5_K", 65519.996 * 63.0, 65520.0 * 63.0 * 31.5),
        ("Q6_K", 2.6e8, 2.8e8),
        ("Q6_K", 2.6e8, 1e13),
        ("Q6_K", 2.6e8, 1e25),
        ("Q6_K", 2.6e8, f32::MAX),
        // The offset of a negative weight, the scale of a positive one.
        ("Q4_1", 65519.996, 65520.0 * 15.0),
        ("Q5_0", 65519.996 * 16.0, 65520.0 * 16.0),
        ("Q5_1", 65519.996, 65520.0 * 31.0),
        ("IQ4_NL", 65519.0 * 113.0, 65521.0 * 127.0),
        ("IQ4_NL", 65519.0 * 113.0, 1e25),
        ("IQ4_XS", 2.36e8, 2.7e8),
        ("IQ4_XS", 2.36e8, f32::MAX),
        ("TQ1_0", 65519.996, 65520.0),
        ("TQ2_0", 65519.996, 65520.0),
    ];
    for (name, fits, fails) in limits {
        let scheme = by_name(name).unwrap();
        let (group, cols) = (scheme.spec().dtype.group, 256);
        for sign in [1.0, -1.0] {
            for at in [0, 40, 250, 700] {
                for &kernels in Kernels::ALL {
                    let mut rows = vec![0.0; 1024];
                    rows[at] = fits * sign;
                    let bytes = quantize(scheme, kernels, &rows, cols).expect(name);
                    assert!(dequantize(scheme, kernels, &bytes, cols).iter().all(|w| w.is_finite()), "{name}");
                    rows[at] = fails * sign;
                    let error = quantize(scheme, kernels, &rows, cols).unwrap_err();
                    assert_eq!(error.kind, ErrorKind::NotFinite);
                    let start = at / group * group;
                    assert!(error.message.starts_with(&format!("weight {start} ")), "{error}");
                    assert!(error.message.contains("too large for") && error.message.contains("choose"), "{error}");
                }
            }
        }
    }
    for name in ["F32", "MXFP4"] {
        let scheme = by_name(name).unwrap();
        for &kernels in Kernels::ALL {
            let bytes = quantize(scheme, kernels, &[f32::MAX; 32], 32).unwrap();
            assert!(dequantize(scheme, kernels, &bytes, 32).iter().all(|w| (2.5e38..=f32::MAX).contains(w)), "{name}");
        }
    }
}

#[test]
fn table_is_sound() {
    for scheme in SCHEMES {
        let spec = scheme.spec();
        assert_eq!(by_name(spec.dtype.name).unwrap().spec().ggml_type, spec.ggml_type);
        assert_eq!(by_ggml_type(spec.ggml_type.unwrap()).unwrap().spec().dtype, spec.dtype);
        assert_eq!(spec.planes.iter().map(|plane| plane.group_bytes).sum::<usize>(), spec.dtype.group_bytes);
    }
    assert_eq!(by_name("Q8_0").unwrap().spec().bits(), 8.5);
    assert!(by_name("Q9_9").is_none() && by_ggml_type(999).is_none());
}

/// Against a plain f64 sum, and against each other: exactly, in every range of magnitudes.
#[test]
fn error_sums_are_right() {
    for kind in KINDS {
        for len in [0, 1, 31, 32, 33, 4096, 5003] {
            let original = generate(kind, 8, len);
            let converted: Vec<f32> = original.iter().map(|w| f32::from_bits(w.to_bits() & 0xffff_0000)).collect();
            let expected = error_sums(Kernels::Scalar, &original, &converted);
            for &kernels in Kernels::ALL {
                assert_eq!(error_sums(kernels, &original, &converted), expected, "{kind}, {}", kernels.name());
            }
            let sum = |f: &dyn Fn(f64, f64) -> f64| {
                original.iter().zip(&converted).map(|(&a, &b)| f(f64::from(a), f64::from(b))).sum::<f64>()
            };
            let close = |found: f64, expected: f64| (found - expected).abs() <= expected * 1e-6;
            assert!(close(expected.squared, sum(&|a, b| (a - b) * (a - b))), "{kind} {len}: {expected:?}");
            assert!(close(expected.original_squared, sum(&|a, _| a * a)), "{kind} {len}: {expected:?}");
            let max = original.iter().zip(&converted).fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
            assert_eq!(expected.max, max, "{kind}");
        }
    }
    for &kernels in Kernels::ALL {
        let errors = error_sums(kernels, &[3e38; 64], &[2e38; 64]);
        assert!((errors.squared / 64e76 - 1.0).abs() < 1e-6 && errors.max == 3e38 - 2e38, "{errors:?}");
    }
}

/// Pieces give what the rows give at once, from every float type to every scheme.
#[test]
fn convert_equals_its_steps() {
    let cols = 768;
    for from in ["F32", "F16", "BF16"].map(|name| by_name(name).unwrap()) {
        let rows = generate("heavy", 12, 7 * cols);
        let source = quantize(from, Kernels::Scalar, &rows, cols).unwrap();
        let rows = dequantize(from, Kernels::Scalar, &source, cols);
        for to in SCHEMES {
            let name = to.spec().dtype.name;
            let expected = quantize(*to, Kernels::Scalar, &rows, cols).unwrap();
            let restored = dequantize(*to, Kernels::Scalar, &expected, cols);
            let errors = error_sums(Kernels::Scalar, &rows, &restored);
            for &kernels in Kernels::ALL {
                let mut out = vec![0; expected.len()];
                let found = convert(kernels, from, *to, cols, &source, &mut out).unwrap();
                assert!(out == expected, "{name}, {}", kernels.name());
                assert_eq!(found.max, errors.max, "{name}");
                assert!((found.squared - errors.squared).abs() <= errors.squared * 1e-9, "{name}");
                assert!((found.original_squared / errors.original_squared - 1.0).abs() < 1e-9, "{name}");

                let mut bad = source.clone();
                let bytes = from.spec().dtype.group_bytes;
                let at = 3 * cols + 700;
                bad[at * bytes..(at + 1) * bytes].fill(0xff); // a NaN in all three
                let error = convert(kernels, from, *to, cols, &bad, &mut out).unwrap_err();
                assert!(
                    error.message.starts_with(&format!("weight {at} of the rows given (row 3, column 700) is NaN"))
                );
            }
        }
    }
    // A type to itself: the same blocks, and no error.
    for scheme in SCHEMES {
        let bytes = quantize(*scheme, Kernels::Scalar, &generate("gaussian", 1, 4 * cols), cols).unwrap();
        for &kernels in Kernels::ALL {
            let mut out = vec![0; bytes.len()];
            let errors = convert(kernels, *scheme, *scheme, cols, &bytes, &mut out).unwrap();
            assert!(out == bytes && errors.squared == 0.0 && errors.max == 0.0 && errors.original_squared > 0.0);
        }
    }
}
