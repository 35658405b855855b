//! The quantizer's tests, for whoever has an executor.

use super::gpu_common::{NO_ADAPTER, Random};
use phiquant::engine::gpu::GpuQuantizer;
use phiquant::quant::{Kernels, by_name};
use phiquant::tensor::DType;
use phiquant::{ErrorKind, num};

const SOURCES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
/// Schemes whose bytes are the scalar definitions'.
const TARGETS: [&str; 11] = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "TQ1_0", "TQ2_0", "MXFP4"];
/// Schemes that search for their scales in f32.
const SEARCHED: [&str; 2] = ["IQ4_NL", "IQ4_XS"];
const K_QUANTS: [&str; 5] = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"];

/// Those whose blocks divide a row.
fn targets(weights: usize) -> impl Iterator<Item = &'static str> {
    TARGETS.into_iter().filter(move |name| weights.is_multiple_of(by_name(name).unwrap().spec().dtype.group))
}

/// Comparisons that [`compare`] makes of rows that every type can hold.
fn all(from: &[DType], weights: usize) -> usize {
    from.len() * targets(weights).count()
}

async fn quantizer() -> GpuQuantizer {
    GpuQuantizer::new(true).await.unwrap_or_else(|e| panic!("{e}; {NO_ADAPTER}"))
}

fn encode(weights: &[f32], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F16 => weights.iter().flat_map(|w| num::f32_to_f16(*w).to_le_bytes()).collect(),
        DType::BF16 => weights.iter().flat_map(|w| num::f32_to_bf16(*w).to_le_bytes()).collect(),
        _ => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
    }
}

fn decode(source: &[u8], dtype: DType) -> Vec<f32> {
    let halves = || source.chunks_exact(2).map(|h| u16::from_le_bytes([h[0], h[1]]));
    match dtype {
        DType::F16 => halves().map(num::f16_to_f32).collect(),
        DType::BF16 => halves().map(num::bf16_to_f32).collect(),
        _ => source.chunks_exact(4).map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect(),
    }
}

/// What the scalar definition makes of it.
fn expected(to: &str, rows: &[f32]) -> phiquant::Result<Vec<u8>> {
    let scheme = by_name(to).unwrap();
    let dtype = scheme.spec().dtype;
    let mut out = vec![0; rows.len() / dtype.group * dtype.group_bytes];
    scheme.quantize(Kernels::Scalar, rows, rows.len(), None, &mut [&mut out])?;
    Ok(out)
}

/// Compares one input on all pairs of types; inputs that a type cannot hold are left to `faults_are_the_cpus`. Every pair is
/// a shader to compile, which takes software adapters a while: all of them are compared once, in
/// `bytes_equal_the_scalar_definitions`.
async fn compare(gpu: &GpuQuantizer, label: &str, sources: &[DType], weights: &[f32]) -> usize {
    let mut compared = 0;
    for &from in sources {
        let source = encode(weights, from);
        let rows = decode(&source, from);
        for to in targets(weights.len()) {
            let Ok(want) = expected(to, &rows) else { continue };
            let dtype = by_name(to).unwrap().spec().dtype;
            let mut got = vec![0xa5; want.len()];
            gpu.convert(from, dtype, rows.len(), &source, &mut got)
                .await
                .unwrap_or_else(|e| panic!("{label}, {} to {to}: {e}", from.name));
            if let Some(at) = want.iter().zip(&got).position(|(a, b)| a != b) {
                let first = at / dtype.group_bytes * dtype.group;
                panic!(
                    "{label}, {} to {to}: byte {at} is {:#04x}, not {:#04x}; the block's weights are {:?}",
                    from.name,
                    got[at],
                    want[at],
                    &rows[first..first + dtype.group]
                );
            }
            compared += 1;
        }
    }
    compared
}

pub async fn bytes_equal_the_scalar_definitions() {
    let gpu = quantizer().await;
    let mut random = Random(1);
    let n = 1 << 14;
    let normal = random.normals(n);
    let tiny = |x: f32| f32::from_bits((x.abs() * 4096.0) as u32); // denormals
    let inputs: Vec<(&str, Vec<f32>)> = vec![
        ("normal", normal.clone()),
        ("weights of a model", normal.iter().map(|x| x * 0.02).collect()),
        ("heavy tails", normal.iter().map(|x| x * x * x * x * x).collect()),
        ("one sign", normal.iter().map(|x| x.abs()).collect()),
        ("all negative", normal.iter().map(|x| -x.abs()).collect()),
        ("constant", (0..n).map(|i| normal[i / 32]).collect()),
        ("plus or minus one size", (0..n).map(|i| normal[i / 32].copysign(normal[i])).collect()),
        ("zeros", vec![0.0; n]),
        ("negative zeros", vec![-0.0; n]),
        ("both zeros", (0..n).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect()),
        (
            "one outlier a block",
            (0..n).map(|i| if i % 32 == i / 32 % 32 { 1e4 * normal[i] } else { normal[i] }).collect(),
        ),
        ("mostly zero", (0..n).map(|i| if i % 29 == 0 { normal[i] } else { 0.0 }).collect()),
        ("ties of Q8_0", (0..n).map(|i| half_steps(i, 127, 254) * 2.0f32.powi(i as i32 / 32 % 40 - 30)).collect()),
        ("ties of Q4_0", (0..n).map(|i| half_steps(i, -8, 16) * 2.0f32.powi(i as i32 / 32 % 40 - 30)).collect()),
        (
            "halves of MXFP4's steps",
            (0..n).map(|i| half_steps(i, 12, 48) * 2.0f32.powi(i as i32 / 32 % 40 - 30)).collect(),
        ),
        ("powers of two and below", (0..n).map(|i| below_power(i, normal[i])).collect()),
        ("f32 denormals", (0..n).map(|i| tiny(normal[i]).copysign(normal[i])).collect()),
        (
            "denormals beside normals",
            (0..n).map(|i| if i % 2 == 0 { tiny(normal[i]) } else { 1e-37 * normal[i] }).collect(),
        ),
        ("scales that are denormal in f16", normal.iter().map(|x| x * 1e-5).collect()),
        ("scales that vanish in f16", normal.iter().map(|x| x * 1e-7).collect()),
        ("huge", normal.iter().map(|x| x * 1e5).collect()),
        ("past f16", normal.iter().map(|x| x * 1e36).collect()),
        ("every size", (0..n).map(|i| normal[i] * 2.0f32.powi(i as i32 / 32 % 140 - 130)).collect()),
        ("sizes mixed in a block", (0..n).map(|i| normal[i] * 2.0f32.powi(i as i32 % 32 * 4 - 120)).collect()),
    ];
    let mut compared = 0;
    for (label, weights) in &inputs {
        compared += compare(&gpu, label, &SOURCES, weights).await;
    }
    let most = inputs.len() * all(&SOURCES, n);
    assert!(compared > most * 4 / 5, "{compared} of {most} comparisons");
}

/// Blocks that begin with a power of two or a number just below it, and hold nothing larger.
fn below_power(i: usize, normal: f32) -> f32 {
    let power = 2.0f32.powi(i as i32 / 32 % 200 - 110);
    if i.is_multiple_of(32) { f32::from_bits(power.to_bits() - i as u32 / 32 % 50) } else { normal * power * 0.1 }
}

/// A block whose extreme is `extreme` and whose other weights are multiples of a half: products that tie.
fn half_steps(i: usize, extreme: i32, steps: i32) -> f32 {
    if i.is_multiple_of(32) {
        extreme as f32
    } else {
        ((i as i32 * 7 + i as i32 / 32) % steps - steps / 2) as f32 / 2.0
    }
}

/// Any finite bits, block by block within a range of exponents, so that levels differ: what a fuzzer would try.
pub async fn random_bit_patterns_too() {
    let gpu = quantizer().await;
    let mut random = Random(7);
    for round in 0..6 {
        let mut weights = Vec::with_capacity(1 << 15);
        while weights.len() < 1 << 15 {
            let exponent = random.bits() % 255;
            let width = 1 + random.bits() % 8;
            for _ in 0..32 {
                let field = exponent.saturating_sub(random.bits() % width);
                weights.push(f32::from_bits((random.bits() & 0x807f_ffff) | (field << 23)));
            }
        }
        // Blocks that overflow a scheme's scale would hide the others: one pass as it is, others scaled into range.
        let scale = [1.0, 1e-33, 1e-20, 1e-36, 1e-34, 1e-38][round];
        weights.iter_mut().for_each(|w| *w *= scale);
        assert!(compare(&gpu, &format!("random bits, round {round}"), &[DType::F32], &weights).await >= 2);
    }
}

pub async fn any_number_of_weights() {
    let gpu = quantizer().await;
    let mut random = Random(2);
    for blocks in [1, 2, 3, 63, 64, 127, 128, 129, 255, 257, 1001] {
        let weights = random.normals(32 * blocks);
        let compared = compare(&gpu, &format!("{blocks} blocks"), &[DType::BF16], &weights).await;
        assert_eq!(compared, all(&[DType::BF16], weights.len()));
    }
    for blocks in [1, 2, 3, 15, 16, 17, 33] {
        let weights = random.normals(256 * blocks);
        let compared = compare(&gpu, &format!("{blocks} blocks of 256"), &[DType::BF16], &weights).await;
        assert_eq!(compared, all(&[DType::BF16], 256));
    }
    // Float targets take any number at all.
    for n in [1, 2, 3, 5, 31, 33, 4095, 4097] {
        let weights = random.normals(n);
        for from in SOURCES {
            let source = encode(&weights, from);
            for to in ["F32", "F16", "BF16"] {
                let want = expected(to, &decode(&source, from)).unwrap();
                let mut got = vec![0; want.len()];
                gpu.convert(from, by_name(to).unwrap().spec().dtype, n, &source, &mut got).await.unwrap();
                assert_eq!(got, want, "{n} weights, {} to {to}", from.name);
            }
        }
    }
}

/// Searches agree with the scalar definitions in 999 of 1000 blocks or more, and their error is no larger; weights that f32
/// cannot be relied upon for are the CPU's.
pub async fn searches_agree_almost_always() {
    let gpu = quantizer().await;
    let mut random = Random(8);
    let n = 1 << 16;
    let normal = random.normals(n);
    let inputs: Vec<(&str, Vec<f32>)> = vec![
        ("weights of a model", normal.iter().map(|x| x * 0.02).collect()),
        ("heavy tails", normal.iter().map(|x| x * x * x * x * x).collect()),
        ("one outlier a block", (0..n).map(|i| if i % 32 == i / 32 % 32 { 1e3 } else { 1.0 } * normal[i]).collect()),
        ("constant", (0..n).map(|i| normal[i / 32]).collect()),
        ("mostly zero", (0..n).map(|i| if i % 29 == 0 { normal[i] } else { 0.0 }).collect()),
        ("every size", (0..n).map(|i| normal[i] * 2.0f32.powi(i as i32 / 32 % 30 - 24)).collect()),
        ("zeros", vec![0.0; n]),
        ("below the range of the sums", normal.iter().map(|x| x * 1e-12).collect()),
        ("above it", normal.iter().map(|x| x * 1e7).collect()),
    ];
    for to in SEARCHED {
        let scheme = by_name(to).unwrap();
        let dtype = scheme.spec().dtype;
        let (mut same, mut all) = (0, 0);
        for (label, weights) in &inputs {
            for from in [DType::F32, DType::BF16] {
                let source = encode(weights, from);
                let rows = decode(&source, from);
                let Ok(want) = expected(to, &rows) else { continue };
                let mut got = vec![0xa5; want.len()];
                let sums = gpu.convert(from, dtype, n, &source, &mut got).await;
                assert_eq!(sums.unwrap_or_else(|e| panic!("{label}: {e}")).weights, n as u64);
                let pairs = want.chunks(dtype.group_bytes).zip(got.chunks(dtype.group_bytes));
                same += pairs.filter(|(a, b)| a == b).count();
                all += n / dtype.group;
                let error = |bytes: &[u8]| {
                    let mut restored = vec![0.0; n];
                    scheme.dequantize(Kernels::Scalar, &[bytes], n, &mut restored);
                    rows.iter().zip(restored).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
                };
                let (found, reference) = (error(&got), error(&want));
                assert!(found <= reference * (1.0 + 1e-5), "{label}, {} to {to}: {found} {reference}", from.name);
            }
        }
        assert!(all > n / dtype.group * 10 && same * 1000 >= all * 999, "{to}: {same} of {all} blocks are the same");
    }
}

/// The K-quants: what differs is counted, over all inputs, and no input's error may be larger than the definition's.
pub async fn searches_find_what_the_scalar_definitions_find() {
    let gpu = quantizer().await;
    let mut random = Random(11);
    let n = 1 << 14;
    let normal = random.normals(n);
    let inputs: Vec<(&str, Vec<f32>)> = vec![
        ("weights of a model", normal.iter().map(|x| x * 0.02).collect()),
        ("heavy tails", normal.iter().map(|x| x * x * x).collect()),
        ("one sign", normal.iter().map(|x| x.abs()).collect()),
        ("all negative", normal.iter().map(|x| -x.abs()).collect()),
        ("far from zero", normal.iter().map(|x| 1.0 + x * 1e-3).collect()),
        ("constant", (0..n).map(|i| normal[i / 32]).collect()),
        ("plus or minus one size", (0..n).map(|i| normal[i / 32].copysign(normal[i])).collect()),
        ("both zeros", (0..n).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect()),
        ("one outlier a block", (0..n).map(|i| if i % 256 == 77 { 200.0 } else { normal[i] }).collect()),
        ("mostly zero", (0..n).map(|i| if i % 29 == 0 { normal[i] } else { 0.0 }).collect()),
        ("ties", (0..n).map(|i| half_steps(i, -32, 64)).collect()),
        ("scales that are denormal in f16", normal.iter().map(|x| x * 1e-3).collect()),
        ("sizes mixed", (0..n).map(|i| normal[i] * 2.0f32.powi(-((i / 16 % 10) as i32))).collect()),
        ("too small for a device's floats", normal.iter().map(|x| x * 1e-15).collect()),
        ("denormals", normal.iter().map(|x| x * 1e-39).collect()),
        ("too large for a device's floats", normal.iter().map(|x| x * 2e4).collect()),
        ("every size", (0..n).map(|i| normal[i] * 2.0f32.powi(i as i32 / 32 % 30 - 26)).collect()),
    ];
    for to in K_QUANTS {
        let dtype = by_name(to).unwrap().spec().dtype;
        let (mut blocks, mut differ) = (0, 0);
        for (label, weights) in &inputs {
            for from in [DType::F32, DType::BF16] {
                let source = encode(weights, from);
                let rows = decode(&source, from);
                let want = expected(to, &rows).unwrap();
                let mut got = vec![0xa5; want.len()];
                gpu.convert(from, dtype, rows.len(), &source, &mut got)
                    .await
                    .unwrap_or_else(|e| panic!("{label}, {} to {to}: {e}", from.name));
                let squared = |bytes: &[u8]| {
                    let mut back = vec![0.0; rows.len()];
                    by_name(to).unwrap().dequantize(Kernels::Scalar, &[bytes], rows.len(), &mut back);
                    rows.iter().zip(back).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
                };
                assert!(squared(&got) <= squared(&want) * 1.001, "{label}, {} to {to}", from.name);
                let pairs = want.chunks(dtype.group_bytes).zip(got.chunks(dtype.group_bytes));
                differ += pairs.filter(|(a, b)| a != b).count();
                blocks += rows.len() / dtype.group;
            }
        }
        assert!(blocks > 2000 && differ * 1000 <= blocks, "{to}: {differ} of {blocks} blocks differ");
    }
    for blocks in [1, 2, 3, 15, 16, 17, 31, 33] {
        let weights = random.normals(256 * blocks);
        let source = encode(&weights, DType::F32);
        for to in K_QUANTS {
            let want = expected(to, &weights).unwrap();
            let mut got = vec![0xa5; want.len()];
            gpu.convert(DType::F32, by_name(to).unwrap().spec().dtype, 256, &source, &mut got).await.unwrap();
            let differ = want.iter().zip(&got).filter(|(a, b)| a != b).count();
            assert!(differ <= want.len() / 50, "{to}, {blocks} blocks: {differ} of {} bytes differ", want.len());
        }
    }
}

pub async fn several_pieces_in_flight() {
    let gpu = quantizer().await;
    let mut random = Random(3);
    let some = random.normals(1 << 16);
    // Three pieces and a bit; no two blocks of 2^16 weights alike.
    let weights: Vec<f32> = (0..(3 << 21) + 4096).map(|i| some[i % some.len()] * (1.0 + (i >> 16) as f32)).collect();
    let source = encode(&weights, DType::BF16);
    let rows = decode(&source, DType::BF16);
    for to in ["Q8_0", "TQ1_0", "F16"] {
        let want = expected(to, &rows).unwrap();
        let mut got = vec![0; want.len()];
        let sums = gpu.convert(DType::BF16, by_name(to).unwrap().spec().dtype, 4096, &source, &mut got).await.unwrap();
        assert!(got == want, "{to}");
        assert_eq!(sums.weights, weights.len() as u64);
    }
}

pub async fn errors_are_measured() {
    let gpu = quantizer().await;
    let normal = Random(4).normals(40_960);
    // A workgroup that the shaders of the K-quants leave to the CPU.
    let small = |i: usize| if i / 4096 == 1 { 1e-12 } else { 1.0 };
    let with_small: Vec<f32> = normal.iter().enumerate().map(|(i, w)| w * small(i)).collect();
    for to in TARGETS.into_iter().chain(SEARCHED).chain(K_QUANTS) {
        let weights = if K_QUANTS.contains(&to) { &with_small } else { &normal };
        let source = encode(weights, DType::F32);
        let scheme = by_name(to).unwrap();
        let bytes = expected(to, weights).unwrap();
        let mut back = vec![0.0; weights.len()];
        scheme.dequantize(Kernels::Scalar, &[&bytes], weights.len(), &mut back);
        let squared: f64 = weights.iter().zip(&back).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let original: f64 = weights.iter().map(|a| f64::from(*a).powi(2)).sum();
        let max = weights.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mut out = vec![0; bytes.len()];
        let sums = gpu.convert(DType::F32, scheme.spec().dtype, weights.len(), &source, &mut out).await.unwrap();
        assert_eq!(sums.weights, 40_960);
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b.abs();
        assert!(close(sums.squared, squared), "{to}: {} {squared}", sums.squared);
        assert!(close(sums.original_squared, original), "{to}: {} {original}", sums.original_squared);
        assert!(close(sums.max.into(), max.into()), "{to}: {} {max}", sums.max);
    }
}

pub async fn faults_are_the_cpus() {
    let gpu = quantizer().await;
    let good = Random(5).normals(8192);
    let cases = [
        (f32::NAN, DType::F32, "Q8_0"),
        (f32::INFINITY, DType::F32, "Q4_0"),
        (f32::NEG_INFINITY, DType::BF16, "Q8_0"),
        (f32::NAN, DType::F16, "F16"),
        (f32::NAN, DType::BF16, "F32"),
        (1e30, DType::F32, "Q8_0"),
        (1e30, DType::BF16, "Q4_0"),
        (65520.0, DType::F32, "F16"),
        (f32::MAX, DType::F32, "BF16"),
        (f32::NAN, DType::F32, "MXFP4"),
        (f32::INFINITY, DType::BF16, "TQ1_0"),
        (-1e30, DType::F32, "Q4_1"),
        (f32::MAX, DType::F32, "Q5_1"),
        (1e30, DType::F32, "TQ2_0"),
        (f32::NAN, DType::BF16, "IQ4_XS"),
        (1e30, DType::F32, "IQ4_NL"),
        (f32::NAN, DType::F32, "Q4_K"),
        (f32::INFINITY, DType::BF16, "Q2_K"),
        (f32::NAN, DType::F16, "Q6_K"),
        (1e30, DType::F32, "Q3_K"),
        (1e9, DType::F32, "Q5_K"),
    ];
    for (bad, from, to) in cases {
        for position in [0, 31, 4097, 8191] {
            let mut weights = good.clone();
            weights[position] = bad;
            let source = encode(&weights, from);
            let want = expected(to, &decode(&source, from)).unwrap_err();
            let dtype = by_name(to).unwrap().spec().dtype;
            let mut out = vec![0; weights.len() / dtype.group * dtype.group_bytes];
            let got = gpu.convert(from, dtype, weights.len(), &source, &mut out).await.unwrap_err();
            assert_eq!(got.kind, ErrorKind::NotFinite, "{bad} from {} to {to}: {got}", from.name);
            assert_eq!(got, want, "{bad} from {} to {to}", from.name);
        }
    }
    // And the quantizer goes on.
    assert_eq!(compare(&gpu, "after faults", &[DType::F32], &good).await, all(&[DType::F32], good.len()));
}

pub async fn a_lost_device_is_an_error() {
    let gpu = quantizer().await;
    let weights = Random(6).normals(4096);
    let dtype = by_name("Q8_0").unwrap().spec().dtype;
    let mut out = vec![0; 4096 / 32 * 34];
    let source = encode(&weights, DType::F32);
    gpu.convert(DType::F32, dtype, 4096, &source, &mut out).await.unwrap();
    gpu.lose();
    for _ in 0..2 {
        let error = gpu.convert(DType::F32, dtype, 4096, &source, &mut out).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::DeviceLost, "{error}");
    }
}

pub async fn the_self_check_passes() {
    let targets = || TARGETS.into_iter().chain(SEARCHED).chain(K_QUANTS);
    let pairs = SOURCES.map(|from| targets().map(|to| (from, by_name(to).unwrap().spec().dtype)).collect::<Vec<_>>());
    quantizer().await.self_check(&pairs.concat()).await.unwrap();
    // What no shader converts is the CPU's, and no fault.
    let unknown = DType { name: "Q9_9", group: 32, group_bytes: 3 };
    quantizer().await.self_check(&[(DType::F32, unknown)]).await.unwrap();
}

pub async fn software_adapters_only_when_asked_for() {
    let any = quantizer().await;
    assert_ne!((any.info().vendor.as_str(), any.info().name.as_str()), ("", ""), "who computes?");
    match GpuQuantizer::new(false).await {
        Ok(real) => assert!(!real.info().fallback, "{:?}", real.info()),
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::NoDevice, "{error}");
            assert!(any.info().fallback, "{:?}", any.info());
        }
    }
}
