//! The demo checkpoint, end to end on the GPU: quantized there to the bytes that the CPU writes, and answering as on the CPU.
#![cfg(not(target_arch = "wasm32"))]

mod common;
mod gpu_common;

use common::{greedy, load, logits, max_difference};
use gpu_common::{NO_ADAPTER, run};
use phiquant::checkpoint::{Builder, Checkpoint};
use phiquant::engine::cpu::Cpu;
use phiquant::engine::gpu::{GpuQuantizer, WebGpu};
use phiquant::formats::Need;
use phiquant::phi::decode::Session;
use phiquant::pipeline::{Options, convert, plan};
use phiquant::quant::Kernels;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "model.safetensors";

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("www/models/demo")
}

fn open(texts: &[&str], file: &str, weights: &[u8]) -> Checkpoint {
    let mut builder = Builder::default();
    for name in texts {
        builder.add_text(name, std::fs::read_to_string(demo().join(name)).unwrap()).unwrap();
    }
    builder.add_name(file);
    assert_eq!(builder.weight_files().unwrap(), [file]);
    assert_eq!(builder.push_header(file, Some(weights.len() as u64), weights).unwrap(), Need::Nothing);
    builder.finish().unwrap()
}

/// The GGUF of that scheme as the GPU makes it; every tensor equals the CPU's, and its measured error nearly.
async fn gguf(gpu: &GpuQuantizer, weights: &[u8], scheme: &str) -> Vec<u8> {
    let texts = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
    let options = Options { format: "gguf".to_owned(), scheme: scheme.to_owned(), ..Options::default() };
    let plan = plan(&open(&texts, WEIGHTS, weights), &options).unwrap();
    let mut file = vec![0; plan.files[0].bytes as usize];
    for literal in &plan.literals {
        file[literal.offset as usize..][..literal.bytes.len()].copy_from_slice(&literal.bytes);
    }
    let mut converted = 0;
    for task in &plan.tasks {
        let source = &weights[task.source.start as usize..task.source.end as usize];
        let (cols, bytes) = (task.cols as usize, task.rows * task.to.row_bytes(task.cols).unwrap());
        let mut expected = vec![0; bytes as usize];
        let sums = convert(Kernels::Scalar, task.from, task.to, cols, source, &mut expected).unwrap();
        let out = &mut file[task.offset as usize..][..bytes as usize];
        if gpu.supports(task.from, task.to) {
            let theirs = gpu.convert(task.from, task.to, cols, source, out).await.unwrap();
            assert!(out == expected, "{} to {}", task.tensor, task.to.name);
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-3 * b;
            assert!(close(theirs.squared, sums.squared), "{}: {theirs:?}, not {sums:?}", task.tensor);
            assert_eq!(theirs.weights, sums.weights);
            converted += 1;
        } else {
            out.copy_from_slice(&expected);
        }
    }
    // Q6_K, for the output matrix of Q4_0, has no shader yet.
    assert!(converted + 1 >= plan.tasks.len(), "{converted} of {}", plan.tasks.len());
    file
}

#[test]
fn conversions_and_answers_are_the_cpus() {
    run(async {
        let adapter = |error| panic!("{error}; {NO_ADAPTER}");
        let gpu = GpuQuantizer::new(true).await.unwrap_or_else(adapter);
        let weights = std::fs::read(demo().join(WEIGHTS)).unwrap();
        let prompts: [&[u32]; 2] = [&[5, 17, 300, 42, 7, 1000, 256, 33, 90, 12], &[1, 2, 3]];
        for scheme in ["F16", "Q8_0", "Q4_0"] {
            let file = gguf(&gpu, &weights, scheme).await;
            let checkpoint = open(&[], "demo.gguf", &file);
            let backend = WebGpu::new(true).await.unwrap_or_else(|error| panic!("{error}; {NO_ADAPTER}"));
            let mut ours = Session::new(load(&checkpoint, &file, backend, None)).unwrap();
            let mut theirs = Session::new(load(&checkpoint, &file, Cpu::new(Kernels::Scalar), None)).unwrap();
            for prompt in prompts {
                let difference = max_difference(&logits(&mut ours, prompt).await, &logits(&mut theirs, prompt).await);
                assert!(difference <= 5e-3, "{scheme}: {difference}");
                assert_eq!(greedy(&mut ours, prompt, 16).await, greedy(&mut theirs, prompt, 16).await, "{scheme}");
            }
        }
    });
}
