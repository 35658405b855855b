//! Every mix and option, importance matrices and splits: whole files against llama-quantize and llama-gguf-split
//! (tools/quantize_fixtures.py).

mod pipeline_common;

use phiquant::ErrorKind;
use phiquant::checkpoint::Builder;
use phiquant::formats::gguf::mix;
use phiquant::formats::imatrix::Importance;
use phiquant::formats::{Need, gguf};
use phiquant::pipeline::{Options, Override, plan};
use pipeline_common::{CHECKPOINTS, Files, carry_out, carry_out_all, fixture, folder, hex, options};
use std::sync::Arc;

fn facts(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder(name).join("quantized.json")).unwrap()).unwrap()
}

fn importance(name: &str, file: &str) -> Arc<Importance> {
    Arc::new(Importance::read(file, &std::fs::read(folder(name).join(file)).unwrap()).unwrap())
}

/// llama-quantize's options as ours.
fn parse(name: &str, text: &str) -> Options {
    let mut words: Vec<&str> = text.split(' ').collect();
    let mut parsed = options(words.pop().unwrap());
    let mut words = words.into_iter();
    while let Some(flag) = words.next() {
        if flag == "--pure" {
            parsed.pure = true;
            continue;
        }
        let value = words.next().unwrap();
        match flag {
            "--imatrix" => parsed.importance = Some(importance(name, value)),
            "--output-tensor-type" => parsed.output_type = Some(value.into()),
            "--token-embedding-type" => parsed.token_embedding_type = Some(value.into()),
            "--tensor-type" => {
                let (pattern, scheme) = value.split_once('=').unwrap();
                parsed.overrides.push(Override { pattern: pattern.into(), scheme: scheme.into() });
            }
            _ => panic!("{flag}"),
        }
    }
    parsed
}

#[test]
fn files_equal_those_of_llama_quantize() {
    for name in CHECKPOINTS {
        let (checkpoint, sources) = fixture(name);
        let facts = facts(name);
        let mut seen = std::collections::BTreeSet::new();
        for (text, sha256) in facts["quantized"].as_object().unwrap() {
            let options = parse(name, text);
            seen.insert(mix::by_name(&options.scheme).unwrap_or_else(|| panic!("{text}")).name);
            let plan = plan(&checkpoint, &options).unwrap_or_else(|e| panic!("{name} {text}: {e}"));
            let (file, _) = carry_out(&checkpoint, &sources, &plan);
            assert_eq!(hex(&file), sha256.as_str().unwrap(), "{name} {text}");
        }
        let missing: Vec<_> =
            mix::MIXES.iter().filter(|mix| !mix.is_plain() && !seen.contains(mix.name)).map(|mix| mix.name).collect();
        assert!(missing.is_empty(), "{name}: nothing is known of {missing:?}");
    }
}

#[test]
fn splits_equal_those_of_llama_gguf_split_and_open_again() {
    for name in CHECKPOINTS {
        let (checkpoint, sources) = fixture(name);
        for (limit, expected) in facts(name)["split F32"].as_object().unwrap() {
            let options =
                Options { split_bytes: Some(limit.parse().unwrap()), name: Some("model".into()), ..options("F32") };
            let split = plan(&checkpoint, &options).unwrap();
            let (files, _) = carry_out_all(&checkpoint, &sources, &split);
            let expected = expected.as_object().unwrap();
            assert_eq!(files.len(), expected.len(), "{name} {limit}");
            assert!(files.len() > 1);
            for (file, (made, (suffix, sha256))) in split.files.iter().zip(files.iter().zip(expected)) {
                assert_eq!(file.name, format!("model{suffix}"));
                assert_eq!(file.bytes, made.len() as u64);
                assert_eq!(hex(made), sha256.as_str().unwrap(), "{name} {limit} {suffix}");
            }

            // Opened by one of its names, it converts to what the checkpoint converts to.
            let mut builder = Builder::default();
            builder.set_name(&split.files[1].name);
            builder.add_name(&split.files[1].name);
            let names = builder.weight_files().unwrap();
            assert_eq!(names, split.files.iter().map(|file| file.name.clone()).collect::<Vec<_>>());
            let sources_again: Files = names.iter().cloned().zip(files).collect();
            for (name, bytes) in &sources_again {
                assert_eq!(builder.push_header(name, Some(bytes.len() as u64), bytes).unwrap(), Need::Nothing);
            }
            let again = builder.finish().unwrap();
            assert_eq!(again.name, "model");
            let options = self::options("Q4_0");
            let (ours, _) = carry_out(&again, &sources_again, &plan(&again, &options).unwrap());
            let (whole, _) = carry_out(&checkpoint, &sources, &plan(&checkpoint, &options).unwrap());
            assert_eq!(hex(&ours), hex(&whole), "{name} {limit}");
        }
    }
}

#[test]
fn a_split_that_is_not_whole_is_refused() {
    let (checkpoint, sources) = fixture("phi4");
    let options = Options { split_bytes: Some(60_000), name: Some("model".into()), ..options("F32") };
    let split = plan(&checkpoint, &options).unwrap();
    let (files, _) = carry_out_all(&checkpoint, &sources, &split);
    let open = |parts: &[(&str, usize)]| {
        let mut builder = Builder::default();
        for (name, part) in parts {
            builder.push_header(name, Some(files[*part].len() as u64), &files[*part]).unwrap();
        }
        builder.finish().unwrap_err()
    };
    let (first, second) = (split.files[0].name.as_str(), split.files[1].name.as_str());
    assert_eq!(open(&[(first, 0)]).kind, ErrorKind::MissingFile);
    assert_eq!(open(&[(first, 1), (second, 0)]).kind, ErrorKind::MissingFile, "the first part says how many there are");
    let swapped: Vec<_> = split
        .files
        .iter()
        .enumerate()
        .map(|(i, file)| (file.name.as_str(), if i == 1 { files.len() } else { i }))
        .collect();
    assert!(swapped.len() > 1);
}

#[test]
fn a_size_for_splitting_bounds_the_tensors_of_a_file() {
    let (checkpoint, _) = fixture("tiny-phi3-spm");
    let with = |bytes| plan(&checkpoint, &Options { split_bytes: Some(bytes), ..options("Q8_0") });
    assert_eq!(with(0).unwrap_err().kind, ErrorKind::BadOption);
    let small = with(1).unwrap();
    assert!(small.files.len() > 10, "a tensor is not cut");
    assert!(small.notices.iter().any(|notice| notice.contains("cannot be cut")));
    let one = with(1 << 40).unwrap();
    assert_eq!(one.files, plan(&checkpoint, &options("Q8_0")).unwrap().files, "what fits stays one file");
}

#[test]
fn importance_of_another_model_is_refused() {
    let (checkpoint, _) = fixture("tiny-phi3-spm");
    let with = |importance| plan(&checkpoint, &Options { importance: Some(importance), ..options("Q4_K_M") });
    let error = with(importance("Phi-4-mini-tiny", "imatrix.gguf")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::WrongImportance, "{error}");
    assert!(error.tensor.is_some() && error.file.as_deref() == Some("imatrix.gguf"), "{error}");

    // Of the right shapes, but of a layer that the model does not have.
    let mut bytes = std::fs::read(folder("tiny-phi3-spm").join("imatrix.dat")).unwrap();
    let at = bytes.windows(6).position(|window| window == b"blk.1.").unwrap();
    bytes[at + 4] = b'7';
    let error = with(Arc::new(Importance::read("other.dat", &bytes).unwrap())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::WrongImportance, "{error}");
    assert!(error.tensor.unwrap().starts_with("blk.7."));
}

#[test]
fn q2_k_s_asks_for_an_importance_matrix() {
    let (checkpoint, _) = fixture("tiny-phi3-spm");
    let error = plan(&checkpoint, &options("Q2_K_S")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NeedsImportance, "{error}");
    assert!(error.tensor.is_some());
}

#[test]
fn weights_are_quantized_twice_only_where_that_was_asked_for() {
    let (checkpoint, sources) = fixture("tiny-phi3-spm");
    let (file, _) = carry_out(&checkpoint, &sources, &plan(&checkpoint, &options("Q8_0")).unwrap());
    let mut builder = Builder::default();
    builder.push_header("model.gguf", Some(file.len() as u64), &file).unwrap();
    let again = builder.finish().unwrap();
    let error = plan(&again, &options("Q4_0")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("allowRequantize"));
    let plan = plan(&again, &Options { allow_requantize: true, ..options("Q4_0") }).unwrap();
    assert!(plan.notices.iter().any(|notice| notice.contains("second time")), "{:?}", plan.notices);
    let sources = Files::from([("model.gguf".to_owned(), file)]);
    let (file, sums) = carry_out(&again, &sources, &plan);
    assert!(sums.weights > 0);
    let mut reader = gguf::Reader::new(Some(file.len() as u64));
    assert_eq!(phiquant::formats::HeaderReader::push(&mut reader, &file).unwrap(), Need::Nothing);
}
