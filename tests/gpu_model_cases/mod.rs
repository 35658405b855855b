//! The backend's tests, for whoever has an executor: each operation against the CPU's scalar reference, then whole models
//! against transformers.

use super::common::{self, FIXTURES, GQA, MHA, greedy, logits, logits_match};
use super::gpu_common::{NO_ADAPTER, Random};
use phiquant::engine::cpu::Cpu;
use phiquant::engine::gpu::WebGpu;
use phiquant::engine::{Attention, Backend, Norm, Routing, Slots};
use phiquant::phi::sample::Sampling;
use phiquant::quant::{Kernels, SCHEMES, by_name};
use phiquant::tensor::DType;
use phiquant::{ErrorKind, num};

pub async fn webgpu() -> WebGpu {
    WebGpu::new(true).await.unwrap_or_else(|e| panic!("{e}; {NO_ADAPTER}"))
}

fn cpu() -> Cpu {
    Cpu::new(Kernels::Scalar)
}

/// Every element within `bound` of the larger of 1 and its size.
fn assert_close(label: &str, got: &[f32], want: &[f32], bound: f32) {
    assert_eq!(got.len(), want.len(), "{label}");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= bound * b.abs().max(1.0), "{label}, element {i}: {a}, not {b}");
    }
}

/// Every scheme: the backend takes them all.
fn names() -> impl Iterator<Item = &'static str> {
    SCHEMES.iter().map(|scheme| scheme.spec().dtype.name)
}

/// Rows as they stand in a file.
fn encoded(scheme: &str, rows: &[f32], cols: usize) -> (DType, Vec<u8>) {
    let scheme = by_name(scheme).unwrap();
    let dtype = scheme.spec().dtype;
    let mut bytes = vec![0; rows.len() / dtype.group * dtype.group_bytes];
    scheme.quantize(Kernels::Scalar, rows, cols, None, &mut [&mut bytes]).unwrap();
    (dtype, bytes)
}

fn decoded(scheme: &str, bytes: &[u8], cols: usize, len: usize) -> Vec<f32> {
    let mut rows = vec![0.0; len];
    by_name(scheme).unwrap().dequantize(Kernels::Scalar, &[bytes], cols, &mut rows);
    rows
}

/// A matrix filled in two pieces, in the wrong order.
fn filled<B: Backend>(backend: &B, dtype: DType, rows: usize, cols: usize, bytes: &[u8]) -> B::Matrix {
    let mut matrix = backend.matrix(dtype, rows, cols).unwrap();
    let row_bytes = bytes.len() / rows;
    let middle = rows / 3;
    backend.fill(&mut matrix, middle, &bytes[middle * row_bytes..]).unwrap();
    backend.fill(&mut matrix, 0, &bytes[..middle * row_bytes]).unwrap();
    matrix
}

/// All sizes of f16 scales: where a device flushes denormals, small weights would vanish.
fn scaled(random: &mut Random, rows: usize, cols: usize) -> Vec<f32> {
    let mut weights = random.normals(rows * cols);
    for (r, row) in weights.chunks_exact_mut(cols).enumerate() {
        row.iter_mut().for_each(|w| *w *= 10.0f32.powi(-(r as i32 % 6)));
    }
    weights
}

pub async fn embedding_is_exact() {
    let backend = webgpu().await;
    let mut random = Random(11);
    let (rows, cols) = (37, 512);
    let tokens = [36, 0, 5, 5, 17, 20, 1, 35];
    let weights = scaled(&mut random, rows, cols);
    for scheme in names() {
        let (dtype, bytes) = encoded(scheme, &weights, cols);
        let want: Vec<f32> = {
            let all = decoded(scheme, &bytes, cols, rows * cols);
            tokens.iter().flat_map(|&t| all[t as usize * cols..][..cols].to_vec()).collect()
        };
        for part in [u64::MAX, 20_000] {
            backend.limit_parts(part);
            let table = filled(&backend, dtype, rows, cols, &bytes);
            let mut out = backend.buffer(tokens.len() * cols).unwrap();
            backend.embed(&table, &tokens, &mut out).unwrap();
            assert_eq!(backend.read(&out, tokens.len() * cols).await.unwrap(), want, "{scheme}");
        }
    }
}

pub async fn matmul_equals_the_dequantized_product() {
    let backend = webgpu().await;
    let mut random = Random(12);
    for (rows, cols) in [(1, 256), (70, 256), (131, 768)] {
        let weights = scaled(&mut random, rows, cols);
        for scheme in names() {
            let (dtype, bytes) = encoded(scheme, &weights, cols);
            let matrix = decoded(scheme, &bytes, cols, rows * cols);
            let device = [u64::MAX, 30_000].map(|part| {
                backend.limit_parts(part);
                filled(&backend, dtype, rows, cols, &bytes)
            });
            for tokens in [1, 3, 8, 65] {
                let x = random.normals(tokens * cols);
                let mut want = Vec::with_capacity(tokens * rows);
                for x in x.chunks_exact(cols) {
                    for row in matrix.chunks_exact(cols) {
                        let sum: f64 = x.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                        want.push(sum as f32);
                    }
                }
                for matrix in &device {
                    let x = backend.upload(&x).unwrap();
                    let mut out = backend.buffer(tokens * rows).unwrap();
                    backend.matmul(matrix, &x, tokens, &mut out).unwrap();
                    let got = backend.read(&out, tokens * rows).await.unwrap();
                    assert_close(&format!("{scheme} {rows}×{cols}, {tokens} tokens"), &got, &want, 1e-4);
                }
            }
        }
    }
}

pub async fn odd_widths_work() {
    // Widths that groups of 32 do not divide, and an odd number of groups.
    let backend = webgpu().await;
    let mut random = Random(13);
    let floats = [("F32", 24), ("F16", 40), ("BF16", 8)];
    let levels =
        [("Q8_0", 96), ("Q4_0", 160), ("Q4_1", 96), ("Q5_0", 160), ("Q5_1", 96), ("IQ4_NL", 32), ("MXFP4", 96)];
    for (scheme, cols) in floats.into_iter().chain(levels) {
        let rows = 5;
        let (dtype, bytes) = encoded(scheme, &random.normals(rows * cols), cols);
        let matrix = decoded(scheme, &bytes, cols, rows * cols);
        let weights = filled(&backend, dtype, rows, cols, &bytes);
        for tokens in [1, 9] {
            let x = random.normals(tokens * cols);
            let want: Vec<f32> = x
                .chunks_exact(cols)
                .flat_map(|x| matrix.chunks_exact(cols).map(|row| x.iter().zip(row).map(|(a, b)| a * b).sum()))
                .collect();
            let x = backend.upload(&x).unwrap();
            let mut out = backend.buffer(tokens * rows).unwrap();
            backend.matmul(&weights, &x, tokens, &mut out).unwrap();
            assert_close(scheme, &backend.read(&out, tokens * rows).await.unwrap(), &want, 2e-5);
        }
    }
    let error = backend.matrix(DType::F32, 4, 7).err().expect("seven columns have no kernel");
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    let unknown = DType { name: "Q9_9", group: 32, group_bytes: 3 };
    assert_eq!(backend.matrix(unknown, 4, 32).err().expect("no such type").kind, ErrorKind::Unsupported);
}

/// What the elementwise operations give on a backend.
async fn elementwise<B: Backend>(backend: &B) -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Random(14);
    let (tokens, width) = (5, 300);
    let x = random.normals(tokens * width);
    let y = random.normals(tokens * width);
    let weight = random.normals(width);
    let gates: Vec<f32> = random.normals(2 * tokens * width).iter().map(|g| g * 40.0).collect();
    let mut results = Vec::new();

    let mut stream = backend.upload(&x).unwrap();
    let mut out = backend.buffer(tokens * width).unwrap();
    let (scale, shift) = (backend.upload(&weight).unwrap(), backend.upload(&y[..width]).unwrap());
    backend.norm(Norm::Rms, &stream, tokens, &scale, None, 1e-5, &mut out).unwrap();
    results.push(("rms norm", backend.read(&out, tokens * width).await.unwrap()));

    backend.norm(Norm::Layer, &stream, tokens, &scale, Some(&shift), 1e-5, &mut out).unwrap();
    results.push(("layer norm", backend.read(&out, tokens * width).await.unwrap()));

    backend.gelu(&backend.upload(&gates).unwrap(), tokens * width - 3, &mut out).unwrap();
    results.push(("gelu", backend.read(&out, tokens * width - 3).await.unwrap()));

    backend.swiglu(&backend.upload(&gates).unwrap(), tokens, width, &mut out).unwrap();
    results.push(("swiglu", backend.read(&out, tokens * width).await.unwrap()));

    backend.add(&mut stream, &backend.upload(&y).unwrap(), 4 * width - 7).unwrap();
    backend.add(&mut stream, &shift, 3 * width).unwrap();
    results.push(("add", backend.read(&stream, tokens * width).await.unwrap()));

    backend.copy_row(&stream, 3, width, &mut out).unwrap();
    results.push(("copy_row", backend.read(&out, width).await.unwrap()));
    results
}

pub async fn elementwise_operations_equal_the_cpus() {
    let want = elementwise(&cpu()).await;
    for ((label, got), (_, want)) in elementwise(&webgpu().await).await.iter().zip(&want) {
        assert_close(label, got, want, 2e-6);
    }
}

/// What experts' operations give on a backend: the routes, and products of every kind with a stack in `scheme`.
async fn routed<B: Backend>(backend: &B, routing: Routing, scheme: &str, tokens: usize) -> Vec<Vec<f32>> {
    let mut random = Random(16);
    let (count, rows, cols, width) = (6, 30, 256, 37);
    let scores = backend.upload(&random.normals(tokens * count)).unwrap();
    let x = backend.upload(&random.normals(2 * tokens * cols)).unwrap();
    let weights: Vec<f32> = random.normals(count * rows * cols).iter().map(|w| w / 16.0).collect();
    let (dtype, bytes) = encoded(scheme, &weights, cols);
    let mut stack = backend.stack(dtype, count, rows, cols).unwrap();
    backend.fill(&mut stack, 0, &bytes).unwrap();
    let mut routes = backend.buffer(tokens * 4).unwrap();
    backend.route(routing, &scores, count, Slots { tokens, used: 2, own: false }, &mut routes).unwrap();
    let mut results = vec![backend.read(&routes, tokens * 4).await.unwrap()];
    for own in [false, true] {
        let slots = Slots { tokens, used: 2, own };
        let mut out = backend.buffer(2 * tokens * width).unwrap();
        backend.matmul_routed(&stack, &routes, &x, slots, 7, width, &mut out).unwrap();
        results.push(backend.read(&out, 2 * tokens * width).await.unwrap());
        let mut mixed = backend.buffer(tokens * width).unwrap();
        backend.combine(&out, &routes, slots, width, &mut mixed).unwrap();
        results.push(backend.read(&mixed, tokens * width).await.unwrap());
    }
    results
}

pub async fn matrices_side_by_side_fill_their_columns() {
    let gpu = webgpu().await;
    let mut random = Random(17);
    let (rows, cols, first, width) = (70, 256, 9, 101);
    for (scheme, part) in [("F16", u64::MAX), ("Q8_0", 20_000)] {
        gpu.limit_parts(part);
        let (dtype, bytes) = encoded(scheme, &random.normals(rows * cols), cols);
        let matrix = filled(&gpu, dtype, rows, cols, &bytes);
        for tokens in [1, 3, 65] {
            let x = gpu.upload(&random.normals(tokens * cols)).unwrap();
            let mut alone = gpu.buffer(tokens * rows).unwrap();
            gpu.matmul(&matrix, &x, tokens, &mut alone).unwrap();
            let mut beside = gpu.buffer(tokens * width).unwrap();
            gpu.matmul_at(&matrix, &x, tokens, first, width, &mut beside).unwrap();
            let alone = gpu.read(&alone, tokens * rows).await.unwrap();
            let beside = gpu.read(&beside, tokens * width).await.unwrap();
            for (beside, alone) in beside.chunks_exact(width).zip(alone.chunks_exact(rows)) {
                assert_eq!(&beside[first..first + rows], alone, "{scheme}, {tokens} tokens");
                assert!(beside[..first].iter().chain(&beside[first + rows..]).all(|x| *x == 0.0));
            }
        }
    }
}

pub async fn experts_equal_the_cpus() {
    let gpu = webgpu().await;
    for part in [u64::MAX, 20_000] {
        gpu.limit_parts(part);
        for (routing, scheme, tokens) in [
            (Routing::SparseMixer { jitter: 0.01 }, "BF16", 1),
            (Routing::SparseMixer { jitter: 0.2 }, "Q4_0", 70),
            (Routing::Softmax, "Q6_K", 9),
        ] {
            let want = routed(&cpu(), routing, scheme, tokens).await;
            for (got, want) in routed(&gpu, routing, scheme, tokens).await.iter().zip(&want) {
                assert_close(&format!("{routing:?} {scheme}"), got, want, 2e-3);
            }
        }
    }
}

/// Rope and attention over a sequence in batches of several sizes; the outputs of all batches.
async fn sequence<B: Backend>(backend: &B, shape: Attention, pairs: usize, batches: &[usize]) -> Vec<f32> {
    let mut random = Random(15);
    let total: usize = batches.iter().sum();
    let context = total + 3;
    let table: Vec<f32> = (0..context)
        .flat_map(|p| {
            let angle = move |i: usize| p as f32 * 0.7f32.powi(i as i32);
            (0..pairs).map(move |i| angle(i).cos()).chain((0..pairs).map(move |i| angle(i).sin()))
        })
        .collect();
    let table = backend.upload(&table).unwrap();
    let kv = context * shape.kv_heads * shape.head_dim;
    let (mut keys, mut values) = (backend.buffer(kv).unwrap(), backend.buffer(kv).unwrap());
    let mut results = Vec::new();
    let mut position = 0;
    for &tokens in batches {
        let mut qkv = backend.upload(&random.normals(tokens * shape.qkv())).unwrap();
        let len = tokens * shape.heads * shape.head_dim;
        let mut out = backend.buffer(len).unwrap();
        backend.rope(&mut qkv, tokens, position, &shape, pairs, &table).unwrap();
        results.extend(backend.read(&qkv, tokens * shape.qkv()).await.unwrap());
        backend.attention(&qkv, tokens, position, &shape, &mut keys, &mut values, &mut out).unwrap();
        results.extend(backend.read(&out, len).await.unwrap());
        position += tokens;
    }
    results
}

pub async fn attention_equals_the_cpus() {
    let gpu = webgpu().await;
    let batches = [7, 1, 1, 70, 1, 130, 1];
    for (heads, kv_heads, head_dim, pairs, window) in [
        (4, 4, 32, 16, None),
        (6, 2, 96, 36, None),
        (4, 1, 128, 48, Some(65)),
        (2, 2, 256, 128, Some(1)),
        (3, 3, 20, 10, Some(40)),
    ] {
        let shape = Attention { heads, kv_heads, head_dim, window };
        let want = sequence(&cpu(), shape, pairs, &batches).await;
        let got = sequence(&gpu, shape, pairs, &batches).await;
        assert_close(&format!("{shape:?}"), &got, &want, 2e-5);
    }
    let shape = Attention { heads: 1, kv_heads: 1, head_dim: 260, window: None };
    let mut buffers = [0; 3].map(|_| gpu.buffer(8 * 260).unwrap());
    let [keys, values, out] = &mut buffers;
    let error = gpu.attention(&gpu.buffer(780).unwrap(), 1, 0, &shape, keys, values, out).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
}

pub async fn logits_and_tokens_equal_transformers() {
    logits_match(webgpu, 5e-3).await;
}

pub async fn matrices_in_many_parts_give_the_same_bits() {
    for fixture in FIXTURES {
        let mut whole = fixture.session(webgpu().await);
        let small = webgpu().await;
        small.limit_parts(4096);
        let mut parts = fixture.session(small);
        for case in fixture.cases() {
            assert_eq!(
                logits(&mut parts, &case.prompt).await,
                logits(&mut whole, &case.prompt).await,
                "{} {}",
                fixture.name,
                case.name
            );
            let tokens = greedy(&mut parts, &case.prompt, 4).await;
            assert_eq!(tokens, case.tokens[..4], "{} {}", fixture.name, case.name);
        }
    }
}

/// The fixtures' models with every matrix quantized: greedy tokens as the CPU's scalar kernels give them.
pub async fn quantized_tokens_equal_the_cpus() {
    for fixture in [&MHA, &GQA] {
        for scheme in ["F16", "Q8_0", "Q4_0"] {
            let (checkpoint, file) = quantized(&fixture.checkpoint(), fixture.weights, scheme);
            let model = common::load(&checkpoint, &file, webgpu().await, None);
            let mut ours = phiquant::phi::decode::Session::new(model).unwrap();
            let model = common::load(&checkpoint, &file, cpu(), None);
            let mut theirs = phiquant::phi::decode::Session::new(model).unwrap();
            for case in fixture.cases() {
                let label = format!("{} {} in {scheme}", fixture.name, case.name);
                let want = logits(&mut theirs, &case.prompt).await;
                // The CPU rounds activations to 15 bits before it multiplies them with quantized weights.
                assert_close(&label, &logits(&mut ours, &case.prompt).await, &want, 5e-3);
                let tokens = greedy(&mut ours, &case.prompt, 64).await;
                assert_eq!(tokens, greedy(&mut theirs, &case.prompt, 64).await, "{label}");
            }
        }
    }
}

/// The checkpoint with its matrices in another type (rows that the type's groups do not divide stay), and its file.
fn quantized(
    checkpoint: &phiquant::checkpoint::Checkpoint,
    source: &[u8],
    scheme: &str,
) -> (phiquant::checkpoint::Checkpoint, Vec<u8>) {
    let mut checkpoint = checkpoint.clone();
    let mut file = Vec::new();
    for tensor in &mut checkpoint.tensors {
        let info = &mut tensor.info;
        let bytes = &source[info.span.start as usize..info.span.end as usize];
        let cols = info.cols() as usize;
        let start = file.len() as u64;
        let to = by_name(scheme).unwrap().spec().dtype;
        if info.shape.len() == 2 && cols.is_multiple_of(to.group) {
            let rows: Vec<f32> = match info.dtype {
                DType::BF16 => bytes.as_chunks().0.iter().map(|b| num::bf16_to_f32(u16::from_le_bytes(*b))).collect(),
                _ => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            };
            file.extend(encoded(scheme, &rows, cols).1);
            info.dtype = to;
        } else {
            file.extend(bytes);
        }
        info.span = start..file.len() as u64;
    }
    checkpoint.headers[0].tensors = checkpoint.tensors.iter().map(|tensor| tensor.info.clone()).collect();
    (checkpoint, file)
}

pub async fn recordings_of_any_length_are_sent() {
    let gpu = webgpu().await;
    let mut x = gpu.upload(&[0.0; 100]).unwrap();
    let one = gpu.upload(&[1.0; 100]).unwrap();
    for _ in 0..2500 {
        gpu.add(&mut x, &one, 100).unwrap();
    }
    assert_eq!(gpu.read(&x, 100).await.unwrap(), [2500.0; 100]);
    // Buffers that nobody holds when the recording is sent have done their part all the same.
    for _ in 0..10 {
        let two = gpu.upload(&[2.0; 100]).unwrap();
        gpu.add(&mut x, &two, 100).unwrap();
    }
    assert_eq!(gpu.read(&x, 3).await.unwrap(), [2520.0; 3]);
}

pub async fn losing_the_device_is_an_error_of_the_next_token() {
    let [case, ..] = &MHA.cases()[..] else { panic!("no cases") };
    let mut session = MHA.session(webgpu().await);
    session.begin(&case.prompt, Sampling::default()).unwrap();
    assert_eq!(session.next().await.unwrap(), Some(case.tokens[0]));
    session.model.backend.lose();
    for _ in 0..2 {
        let error = session.next().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::DeviceLost, "{error}");
    }
    let error = session.model.backend.buffer(16).err().expect("the device is gone");
    assert_eq!(error.kind, ErrorKind::DeviceLost, "{error}");
}

pub async fn large_matrices_arrive_whole() {
    // More than is written before it is sent, in pieces of 64 rows.
    let gpu = webgpu().await;
    let (rows, cols) = (18_432, 1024);
    let mut table = gpu.matrix(DType::F32, rows, cols).unwrap();
    for first in (0..rows).step_by(64) {
        let piece: Vec<u8> = (first..first + 64).flat_map(|row| (row as f32).to_le_bytes().repeat(cols)).collect();
        gpu.fill(&mut table, first, &piece).unwrap();
    }
    let tokens = [0, 1, 9_000, 16_383, 16_384, 18_431];
    let mut out = gpu.buffer(tokens.len() * cols).unwrap();
    gpu.embed(&table, &tokens, &mut out).unwrap();
    let want: Vec<f32> = tokens.iter().flat_map(|row| vec![*row as f32; cols]).collect();
    assert_eq!(gpu.read(&out, want.len()).await.unwrap(), want);
}
