//! Greedy tokens of GGUF files in llama.cpp and in the engine (tools/llama_tokens.py), on one checkpoint of each kind.

mod common;

use common::{greedy, load, logits, ready};
use phiquant::checkpoint::{Builder, Checkpoint};
use phiquant::engine::cpu::Cpu;
use phiquant::formats::Need;
use phiquant::phi::config::{Family, Norm, Routing};
use phiquant::phi::decode::Session;
use phiquant::pipeline::{Options, Override, convert, plan};
use phiquant::quant::Kernels;
use std::path::{Path, PathBuf};

/// The least that llama.cpp makes room for.
const LLAMA_CONTEXT: usize = 256;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

/// The GGUF that phiquant makes of a fixture, with some matrices in F32: `tests/pipeline_gguf.rs` sees to it that llama.cpp's tools make the same.
fn converted(name: &str, scheme: &str, overrides: &[&str]) -> Vec<u8> {
    let mut builder = Builder::default();
    let mut weights = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.extension().and_then(|e| e.to_str()) {
            Some("json" | "jinja") => builder.add_text(&file, std::fs::read_to_string(&path).unwrap()).unwrap(),
            Some("model") => builder.add_blob(&file, std::fs::read(&path).unwrap()).unwrap(),
            Some("safetensors") => {
                weights.insert(file, std::fs::read(&path).unwrap());
            }
            _ => {}
        }
    }
    for (file, bytes) in &weights {
        assert_eq!(builder.push_header(file, Some(bytes.len() as u64), bytes).unwrap(), Need::Nothing);
    }
    let checkpoint = builder.finish().unwrap();
    let exact = |pattern: &&str| Override { pattern: (*pattern).into(), scheme: "F32".into() };
    let overrides = overrides.iter().map(exact).collect();
    let options = Options { format: "gguf".into(), scheme: scheme.into(), overrides, ..Options::default() };
    let plan = plan(&checkpoint, &options).unwrap();
    let mut out = vec![0; plan.files[0].bytes as usize];
    for literal in &plan.literals {
        out[literal.offset as usize..][..literal.bytes.len()].copy_from_slice(&literal.bytes);
    }
    for task in &plan.tasks {
        let source =
            &weights[&checkpoint.files[task.source_file]][task.source.start as usize..task.source.end as usize];
        let size = task.rows * task.to.row_bytes(task.cols).unwrap();
        let out = &mut out[task.offset as usize..][..size as usize];
        convert(Kernels::best(), task.from, task.to, task.cols as usize, source, out).unwrap();
    }
    out
}

fn open(file: &[u8]) -> Checkpoint {
    let mut builder = Builder::default();
    builder.push_header("model.gguf", Some(file.len() as u64), file).unwrap();
    builder.finish().unwrap()
}

#[test]
fn tokens_equal_those_of_llama_cpp() {
    for name in ["tiny-phi3-spm", "Phi-4-mini-tiny", "phi4", "phi-2-tiny", "Phi-3.5-MoE-tiny"] {
        let text = std::fs::read_to_string(folder(name).join("tokens.json")).unwrap();
        let case: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ids = |name: &str| -> Vec<u32> { serde_json::from_value(case[name].clone()).unwrap() };
        let file = converted(name, "F32", &[]);
        let mut checkpoint = open(&file);
        checkpoint.config.eos.clear();
        if checkpoint.config.original_context < LLAMA_CONTEXT {
            // llama.cpp goes by the context that it has made room for, not by the tokens so far.
            checkpoint.config.original_context = 1;
        }
        if checkpoint.config.family == Family::PhiMoe {
            // What llama.cpp computes for phimoe is not what the model computes: docs/formats.md.
            let ours = greedy_tokens(&checkpoint, &file, &ids("prompt"), ids("tokens").len());
            assert_ne!(ours, ids("tokens"), "the model's own arithmetic gives the same tokens: then say so");
            checkpoint.config.norm = Norm::Rms;
            checkpoint.config.experts.as_mut().unwrap().routing = Routing::Softmax;
        }
        let ours = greedy_tokens(&checkpoint, &file, &ids("prompt"), ids("tokens").len());
        assert_eq!(ours, ids("tokens"), "{name}");
    }
}

fn greedy_tokens(checkpoint: &Checkpoint, file: &[u8], prompt: &[u32], count: usize) -> Vec<u32> {
    let mut session = Session::new(load(checkpoint, file, Cpu::default(), None)).unwrap();
    ready(greedy(&mut session, prompt, count))
}

#[test]
fn types_may_differ_within_a_layer() {
    // The weights are of the wider type's values: every bit of the logits must be the same.
    for (name, scheme, exact) in [
        ("phi-2-tiny", "F16", &["attn_v.weight"][..]),
        ("Phi-3.5-MoE-tiny", "BF16", &["ffn_up_exps", "attn_k.weight"]),
        ("Phi-3.5-MoE-tiny", "BF16", &["ffn_gate_exps", "attn_q.weight"]),
    ] {
        let prompt: Vec<u32> = (3..40).collect();
        let [one, several] = [&[][..], exact].map(|exact| {
            let file = converted(name, scheme, exact);
            let mut session = Session::new(load(&open(&file), &file, Cpu::default(), None)).unwrap();
            ready(logits(&mut session, &prompt))
        });
        assert_eq!(one, several, "{name} with {exact:?} in F32");
    }
}
