//! Whole files against llama.cpp's own tools: convert_hf_to_gguf.py and llama-quantize (tools/gguf_fixtures.py).

use phiquant::ErrorKind;
use phiquant::checkpoint::{Builder, Checkpoint};
use phiquant::formats::{Header, HeaderReader, Need, gguf};
use phiquant::pipeline::{ErrorSums, Options, Override, Plan, convert, plan};
use phiquant::quant::Kernels;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CHECKPOINTS: [&str; 5] = ["tiny-phi3-spm", "Phi-4-mini-tiny", "phi4", "phi-2-tiny", "Phi-3.5-MoE-tiny"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

/// The weight files' bytes, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Opens a folder as the terminal and the browser do.
fn open(name: &str, edit: impl Fn(&str, String) -> Option<String>) -> (phiquant::Result<Checkpoint>, Files) {
    let mut builder = Builder::default();
    builder.set_name(name);
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.extension().and_then(|e| e.to_str()) {
            Some("json" | "jinja") if file != "expected.json" => {
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
                }
            }
        }
        builder.finish()
    })();
    (result, files)
}

fn fixture(name: &str) -> (Checkpoint, Files) {
    let (checkpoint, files) = open(name, |_, text| Some(text));
    (checkpoint.unwrap(), files)
}

fn options(scheme: &str) -> Options {
    Options { format: "gguf".into(), scheme: scheme.into(), ..Options::default() }
}

/// Carries a plan out; every byte must be written exactly once.
fn carry_out(checkpoint: &Checkpoint, sources: &Files, plan: &Plan) -> (Vec<u8>, ErrorSums) {
    assert_eq!(plan.files.len(), 1);
    let size = plan.files[0].bytes as usize;
    let (mut out, mut written) = (vec![0u8; size], vec![0u8; size]);
    let mut put = |offset: usize, bytes: &[u8]| {
        out[offset..offset + bytes.len()].copy_from_slice(bytes);
        written[offset..offset + bytes.len()].iter_mut().for_each(|n| *n += 1);
    };
    for literal in &plan.literals {
        put(literal.offset as usize, &literal.bytes);
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
            sums += convert(Kernels::best(), task.from, task.to, cols, rows, &mut bytes).unwrap();
            put(offset, &bytes);
            offset += bytes.len();
        }
        assert_eq!(offset, (task.offset as usize) + task.rows as usize * row(task.to));
    }
    assert!(written.iter().all(|&n| n == 1), "every byte is written exactly once");
    (out, sums)
}

fn header(bytes: &[u8]) -> Header {
    let mut reader = gguf::Reader::new(None);
    assert_eq!(reader.push(bytes).unwrap(), Need::Nothing);
    Box::new(reader).finish().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_equal_those_of_llama_cpp() {
    for name in CHECKPOINTS {
        let (checkpoint, sources) = fixture(name);
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder(name).join("expected.json")).unwrap()).unwrap();
        let mut kinds: Vec<_> = expected.as_object().unwrap().iter().collect();
        kinds.sort_by_key(|(kind, _)| !folder(name).join(format!("{kind}.head")).exists());
        for (kind, facts) in kinds {
            let pure = kind.ends_with("-pure");
            let options = Options { pure, ..options(kind.trim_end_matches("-pure")) };
            let plan = plan(&checkpoint, &options).unwrap();
            let (file, _) = carry_out(&checkpoint, &sources, &plan);
            if let Ok(head) = std::fs::read(folder(name).join(format!("{kind}.head"))) {
                // Key by key and line by line first, so that a difference can be read.
                let (ours, theirs) = (header(&file), header(&head));
                let keys = |header: &Header| header.metadata.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
                assert_eq!(keys(&ours), keys(&theirs), "{name} {kind}");
                for (ours, theirs) in ours.metadata.iter().zip(&theirs.metadata) {
                    assert_eq!(ours, theirs, "{name} {kind}");
                }
                assert_eq!(ours.tensors, theirs.tensors, "{name} {kind}");
                assert_eq!(file[..head.len()], head, "{name} {kind}");
            }
            assert_eq!(file.len() as u64, facts["bytes"].as_u64().unwrap(), "{name} {kind}");
            assert_eq!(hex(&file), facts["sha256"].as_str().unwrap(), "{name} {kind}: the weights differ");
        }
    }
}

#[test]
fn a_gguf_becomes_another_as_by_llama_quantize() {
    for name in CHECKPOINTS {
        let (checkpoint, sources) = fixture(name);
        let (file, _) = carry_out(&checkpoint, &sources, &plan(&checkpoint, &options("F32")).unwrap());
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder(name).join("expected.json")).unwrap()).unwrap();

        let mut builder = Builder::default();
        builder.push_header("model.gguf", Some(file.len() as u64), &file).unwrap();
        let again = builder.finish().unwrap();
        let sources = Files::from([("model.gguf".to_owned(), file)]);
        for kind in ["Q8_0", "Q4_0", "Q6_K"] {
            let (file, _) = carry_out(&again, &sources, &plan(&again, &options(kind)).unwrap());
            assert_eq!(hex(&file), expected[kind]["sha256"].as_str().unwrap(), "{name} {kind}");
        }
    }
}

#[test]
fn a_gguf_says_the_same_as_its_checkpoint() {
    for name in CHECKPOINTS {
        let (checkpoint, sources) = fixture(name);
        let (file, _) = carry_out(&checkpoint, &sources, &plan(&checkpoint, &options("Q8_0")).unwrap());
        let mut builder = Builder::default();
        builder.set_name(&format!("some/where/{name}.gguf"));
        builder.push_header("x.gguf", Some(file.len() as u64), &file).unwrap();
        let again = builder.finish().unwrap();
        assert_eq!(again.name, name);
        let mut expected = checkpoint.config.clone();
        // The factors are tensors there.
        if let Some(long) = &mut expected.rope.long {
            long.short.clear();
            long.long.clear();
            long.mscale = None; // for which GGUF has no key
        }
        assert_eq!(expected.eos.iter().filter(|id| !again.config.eos.contains(id)).count(), 0);
        expected.eos.clone_from(&again.config.eos);
        expected.pad = again.config.pad;
        assert_eq!(again.config, expected);
        assert!(again.texts.contains_key("tokenizer.json"));

        let error = plan(&again, &options("Q4_0")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert!(error.tensor.is_some() && error.message.contains("Q8_0"), "{error}");
    }
}

#[test]
fn overrides_name_tensors_by_either_name() {
    let (checkpoint, _) = fixture("Phi-4-mini-tiny");
    let overrides =
        [("^model.embed_tokens", "q8_0"), ("blk\\.1\\.ffn_down", "F16"), ("nothing", "F32"), ("norm", "F16")];
    let overrides = overrides.map(|(pattern, scheme)| Override { pattern: pattern.into(), scheme: scheme.into() });
    let plan = plan(&checkpoint, &Options { overrides: overrides.into(), ..options("q4_0") }).unwrap();
    let kind = |output: &str| plan.tasks.iter().find(|task| task.output == output).unwrap().to.name;
    assert_eq!(kind("token_embd.weight"), "Q8_0");
    assert_eq!(kind("blk.1.ffn_down.weight"), "F16");
    assert_eq!(kind("blk.0.ffn_down.weight"), "Q4_0");
    assert_eq!(kind("blk.0.attn_norm.weight"), "F32", "norms are never quantized");
    let unused: Vec<_> = plan.notices.iter().filter(|notice| notice.contains("matches no matrix")).collect();
    assert_eq!(unused.len(), 2, "{:?}", plan.notices);
}

#[test]
fn options_that_are_refused() {
    let (checkpoint, _) = fixture("phi4");
    let with = |pattern: &str, scheme: &str| Options {
        overrides: vec![Override { pattern: pattern.into(), scheme: scheme.into() }],
        ..options("Q8_0")
    };
    for (options, word) in [
        (options("Q9_9"), "Q9_9"),
        (Options { format: "zip".into(), ..options("Q8_0") }, "zip"),
        (Options { format: String::new(), ..options("Q8_0") }, "format"),
        (with("(", "Q8_0"), "regular expression"),
        (with("a", "Q9_9"), "Q9_9"),
    ] {
        let error = plan(&checkpoint, &options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadOption, "{error}");
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn not_finite_weights_are_an_error() {
    use phiquant::tensor::DType;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut rows = vec![0.5f32; 64];
        rows[40] = bad;
        let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
        for scheme in phiquant::quant::SCHEMES.iter().map(|scheme| scheme.spec().dtype).filter(|d| d.group <= 32) {
            let mut out = vec![0; 64 / scheme.group * scheme.group_bytes];
            let error = convert(Kernels::best(), DType::F32, scheme, 32, &bytes, &mut out).unwrap_err();
            assert_eq!(error.kind, ErrorKind::NotFinite, "{bad} to {}", scheme.name);
        }
    }
}
