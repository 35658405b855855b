//! The fixtures of tools/gguf_fixtures.py, opened and converted as the browser and the terminal do.

#![allow(dead_code)] // each test has its own use for this

use phiquant::checkpoint::{Builder, Checkpoint};
use phiquant::formats::Need;
use phiquant::pipeline::{ErrorSums, Options, Plan, convert_weighed};
use phiquant::quant::Kernels;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub const CHECKPOINTS: [&str; 5] = ["tiny-phi3-spm", "Phi-4-mini-tiny", "phi4", "phi-2-tiny", "Phi-3.5-MoE-tiny"];

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

/// The weight files' bytes, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Opens a folder as the terminal and the browser do.
pub fn open(name: &str, edit: impl Fn(&str, String) -> Option<String>) -> (phiquant::Result<Checkpoint>, Files) {
    let mut builder = Builder::default();
    builder.set_name(name);
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.extension().and_then(|e| e.to_str()) {
            Some("json" | "jinja") if !["expected.json", "quantized.json"].contains(&file.as_str()) => {
                if let Some(text) = edit(&file, std::fs::read_to_string(&path).unwrap()) {
                    builder.add_text(&file, text).unwrap();
                }
            }
            Some("model") => builder.add_blob(&file, std::fs::read(&path).unwrap()).unwrap(),
            Some("safetensors") => {
                files.insert(file, std::fs::read(&path).unwrap());
            }
            _ => {}
        }
    }
    let result = (|| {
        for file in builder.weight_files()? {
            let bytes = &files[&file];
            let mut position = 0;
            // Pieces of odd sizes, as a network gives them.
            loop {
                let end = (position + 1009).min(bytes.len());
                match builder.push_header(&file, Some(bytes.len() as u64), &bytes[position..end])? {
                    Need::Nothing => break,
                    Need::More(_) => position = end,
                    Need::At(place) => position = place as usize,
                }
            }
        }
        builder.finish()
    })();
    (result, files)
}

pub fn fixture(name: &str) -> (Checkpoint, Files) {
    let (checkpoint, files) = open(name, |_, text| Some(text));
    (checkpoint.unwrap(), files)
}

pub fn options(scheme: &str) -> Options {
    Options { format: "gguf".into(), scheme: scheme.into(), ..Options::default() }
}

/// Carries out a plan for one file.
pub fn carry_out(checkpoint: &Checkpoint, sources: &Files, plan: &Plan) -> (Vec<u8>, ErrorSums) {
    let (mut files, sums) = carry_out_all(checkpoint, sources, plan);
    assert_eq!(files.len(), 1);
    (files.pop().unwrap(), sums)
}

/// Carries a plan out; every byte must be written exactly once.
pub fn carry_out_all(checkpoint: &Checkpoint, sources: &Files, plan: &Plan) -> (Vec<Vec<u8>>, ErrorSums) {
    let mut out: Vec<Vec<u8>> = plan.files.iter().map(|file| vec![0u8; file.bytes as usize]).collect();
    let mut written = out.clone();
    let mut put = |file: usize, offset: usize, bytes: &[u8]| {
        out[file][offset..offset + bytes.len()].copy_from_slice(bytes);
        written[file][offset..offset + bytes.len()].iter_mut().for_each(|n| *n += 1);
    };
    for literal in &plan.literals {
        put(literal.file, literal.offset as usize, &literal.bytes);
    }
    let mut sums = ErrorSums::default();
    let mut last = (0, 0);
    for task in &plan.tasks {
        assert!(last <= (task.source_file, task.source.start), "tasks are in the order of their sources");
        last = (task.source_file, task.source.start);
        let source =
            &sources[&checkpoint.files[task.source_file]][task.source.start as usize..task.source.end as usize];
        let cols = task.cols as usize;
        let row = |dtype: phiquant::tensor::DType| dtype.row_bytes(task.cols).unwrap() as usize;
        // Three rows at a time, to see that chunks do not matter.
        let mut offset = task.offset as usize;
        for rows in source.chunks(3 * row(task.from)) {
            let mut bytes = vec![0; rows.len() / row(task.from) * row(task.to)];
            let importance = task.importance.as_deref();
            sums += convert_weighed(Kernels::best(), task.from, task.to, cols, importance, rows, &mut bytes).unwrap();
            put(task.file, offset, &bytes);
            offset += bytes.len();
        }
        assert_eq!(offset, (task.offset as usize) + task.rows as usize * row(task.to));
    }
    assert!(written.iter().flatten().all(|&n| n == 1), "every byte is written exactly once");
    (out, sums)
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
