//! The demo checkpoint, end to end: as it is against transformers, and as the GGUF that the pipeline makes of it.

mod common;

use common::{greedy, load, logits, max_difference, ready};
use phiquant::checkpoint::{Builder, Checkpoint};
use phiquant::engine::cpu::Cpu;
use phiquant::formats::Need;
use phiquant::phi::decode::Session;
use phiquant::pipeline::{Options, convert, plan};
use phiquant::quant::Kernels;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "model.safetensors";

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("www/models/demo")
}

struct Case {
    name: String,
    prompt: Vec<u32>,
    /// At the end of the prompt.
    logits: Vec<f32>,
    /// The answer, up to its end token.
    tokens: Vec<u32>,
}

/// What transformers answers (tools/phi_fixtures.py).
fn cases(weights: &[u8]) -> Vec<Case> {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("fixtures/phi/demo/cases.json")).unwrap();
    let sha256: String = Sha256::digest(weights).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        fixture["sha256"], *sha256,
        "the demo checkpoint has changed: run tools/phi_fixtures.py tests/fixtures/phi www/models/demo"
    );
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    let ids = |value: &serde_json::Value| list(value).iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let case = |(name, case): (&String, &serde_json::Value)| Case {
        name: name.clone(),
        prompt: ids(&case["prompt"]),
        logits: list(&case["logits"]).iter().map(|x| x.as_f64().unwrap() as f32).collect(),
        tokens: ids(&case["tokens"]),
    };
    fixture["cases"].as_object().unwrap().iter().map(case).collect()
}

/// Opens a checkpoint of one weight file, as the terminal and the browser do.
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

fn checkpoint(weights: &[u8]) -> Checkpoint {
    let texts = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
    open(&texts, WEIGHTS, weights)
}

/// The GGUF of that scheme, in memory.
fn gguf(checkpoint: &Checkpoint, weights: &[u8], scheme: &str) -> Vec<u8> {
    let options = Options { format: "gguf".to_owned(), scheme: scheme.to_owned(), ..Options::default() };
    let plan = plan(checkpoint, &options).unwrap();
    let mut out = vec![0; plan.files[0].bytes as usize];
    for literal in &plan.literals {
        out[literal.offset as usize..][..literal.bytes.len()].copy_from_slice(&literal.bytes);
    }
    for task in &plan.tasks {
        let source = &weights[task.source.start as usize..task.source.end as usize];
        let bytes = (task.rows * task.to.row_bytes(task.cols).unwrap()) as usize;
        let out = &mut out[task.offset as usize..][..bytes];
        convert(Kernels::best(), task.from, task.to, task.cols as usize, source, out).unwrap();
    }
    out
}

/// A session of the file as a GGUF.
fn quantized(checkpoint: &Checkpoint, weights: &[u8], scheme: &str) -> Session<Cpu> {
    let file = gguf(checkpoint, weights, scheme);
    Session::new(load(&open(&[], "demo.gguf", &file), &file, Cpu::default(), None)).unwrap()
}

#[test]
fn the_checkpoint_answers_as_in_transformers() {
    let weights = std::fs::read(demo().join(WEIGHTS)).unwrap();
    let mut session = Session::new(load(&checkpoint(&weights), &weights, Cpu::default(), None)).unwrap();
    for case in cases(&weights) {
        let difference = max_difference(&ready(logits(&mut session, &case.prompt)), &case.logits);
        assert!(difference <= 1e-3, "{}: {difference}", case.name);
        assert_eq!(ready(greedy(&mut session, &case.prompt, 64)), case.tokens, "{}", case.name);
    }
}

#[test]
fn a_gguf_without_rounding_gives_the_same_bits() {
    let weights = std::fs::read(demo().join(WEIGHTS)).unwrap();
    let checkpoint = checkpoint(&weights);
    let mut source = Session::new(load(&checkpoint, &weights, Cpu::default(), None)).unwrap();
    for scheme in ["F32", "BF16"] {
        let mut gguf = quantized(&checkpoint, &weights, scheme);
        assert_eq!(gguf.model.config.eos.iter().max(), source.model.config.eos.iter().max());
        for case in cases(&weights).iter().take(2) {
            assert_eq!(
                ready(logits(&mut gguf, &case.prompt)),
                ready(logits(&mut source, &case.prompt)),
                "{scheme} {}",
                case.name
            );
        }
    }
}

#[test]
fn quantized_weights_answer_nearly_the_same() {
    let weights = std::fs::read(demo().join(WEIGHTS)).unwrap();
    let checkpoint = checkpoint(&weights);
    // Twice the largest difference that the scheme's rounding made here; most bf16 weights are f16 numbers as they are.
    for (scheme, bound) in [("F16", 1e-3), ("Q8_0", 0.6), ("Q4_0", 6.5)] {
        let mut session = quantized(&checkpoint, &weights, scheme);
        for case in cases(&weights) {
            let difference = max_difference(&ready(logits(&mut session, &case.prompt)), &case.logits);
            assert!(difference <= bound, "{scheme} {}: {difference}", case.name);
            if scheme != "Q4_0" {
                assert_eq!(ready(greedy(&mut session, &case.prompt, 64)), case.tokens, "{scheme} {}", case.name);
            }
        }
    }
}
