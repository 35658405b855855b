//! Whole files against llama.cpp's own tools: convert_hf_to_gguf.py and llama-quantize (tools/gguf_fixtures.py).

mod pipeline_common;

use phiquant::ErrorKind;
use phiquant::checkpoint::Builder;
use phiquant::formats::{Header, HeaderReader, Need, gguf};
use phiquant::pipeline::{Options, Override, convert, plan};
use phiquant::quant::Kernels;
use pipeline_common::{CHECKPOINTS, Files, carry_out, fixture, folder, hex, options};

fn header(bytes: &[u8]) -> Header {
    let mut reader = gguf::Reader::new(None);
    assert_eq!(reader.push(bytes).unwrap(), Need::Nothing);
    Box::new(reader).finish().unwrap()
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
