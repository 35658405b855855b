//! One tokenizer, two spellings: the ids by a checkpoint's tokenizer.json and by the one made from its GGUF keys are equal.
#![cfg(feature = "cli")] // the tokenizers crate comes with it

use phiquant::ErrorKind;
use phiquant::formats::gguf::tokenizer::{Sources, metadata, texts};
use phiquant::formats::gguf::{Metadata, Value, find};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::Tokenizer;

const CHECKPOINTS: [(&str, usize); 5] =
    [("tiny-phi3-spm", 440), ("Phi-4-mini-tiny", 320), ("phi4", 300), ("phi-2-tiny", 300), ("Phi-3.5-MoE-tiny", 430)];

type Texts = BTreeMap<String, String>;
type Blobs = BTreeMap<String, Vec<u8>>;

fn files(name: &str) -> (Texts, Blobs) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name);
    let (mut texts, mut blobs) = (Texts::new(), Blobs::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if file.ends_with(".json") || file.ends_with(".jinja") {
            texts.insert(file, std::fs::read_to_string(&path).unwrap());
        } else if file.ends_with(".model") {
            blobs.insert(file, std::fs::read(&path).unwrap());
        }
    }
    (texts, blobs)
}

fn keys(texts: &Texts, blobs: &Blobs, vocab: usize) -> phiquant::Result<Metadata> {
    metadata(&Sources { texts, blobs, vocab })
}

fn tokenizer(json: &str) -> Tokenizer {
    json.parse().unwrap()
}

/// Text of many kinds, the same on every run: words, numbers, code, white space, scripts, special tokens, odd characters.
fn corpus() -> Vec<String> {
    let pieces = [
        "The",
        " quick",
        "brown",
        " fox's",
        " WE'LL",
        "don't",
        " tokenizer",
        "Quantize",
        " 7",
        "1234567",
        "3.14",
        " 2,718",
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "  ",
        "   \t",
        "{",
        "}",
        "total += i;",
        "//",
        "/",
        "ελληνικά",
        " кириллица",
        "日本語",
        "Größe",
        "naïve",
        "🚀",
        "👩‍👩‍👧",
        "e\u{301}",
        "\u{0}",
        "\u{7f}",
        "\u{a0}",
        "\u{2581}",
        "▁▁a",
        "ﬁ",
        "İ",
        "<|end|>",
        "<|user|>",
        "<|endoftext|>",
        "<|en",
        "|>",
        "<s>",
        "</s>",
        "<unk>",
        "<0x0A>",
        "[PAD310]",
        "a",
        "B",
        ".",
        ",",
        "!",
        "?",
        "'",
        "\"",
    ];
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let mut lines: Vec<String> = pieces.iter().map(ToString::to_string).collect();
    lines.push(String::new());
    for _ in 0..2000 {
        lines.push((0..1 + next() % 12).map(|_| pieces[next() % pieces.len()]).collect());
    }
    lines
}

fn assert_same_ids(name: &str, ours: &Tokenizer, theirs: &Tokenizer) {
    for text in corpus() {
        for special in [false, true] {
            let (ours, theirs) =
                (ours.encode(text.as_str(), special).unwrap(), theirs.encode(text.as_str(), special).unwrap());
            assert_eq!(ours.get_ids(), theirs.get_ids(), "{name}: {text:?}");
        }
        let ids = theirs.encode(text.as_str(), false).unwrap();
        let decode = |t: &Tokenizer| t.decode(ids.get_ids(), false).unwrap();
        assert_eq!(decode(ours), decode(theirs), "{name}: {text:?}");
    }
}

/// The converter spells SentencePiece's mark in a user-defined token as a space, and so do we: GGUF does not tell what it was.
#[test]
fn user_defined_tokens_have_spaces() {
    let (files, blobs) = files("Phi-4-mini-tiny");
    let made = texts(&keys(&files, &blobs, 320).unwrap()).unwrap();
    let ids = |text: &str| tokenizer(&made["tokenizer.json"]).encode(text, false).unwrap().get_ids().to_vec();
    assert_eq!(ids("<tool call>"), [305]);
    assert_ne!(ids("<tool▁call>"), [305]);
}

#[test]
fn ids_are_the_same_after_a_round_trip() {
    for (name, vocab) in CHECKPOINTS {
        let (files, blobs) = files(name);
        let made = texts(&keys(&files, &blobs, vocab).unwrap()).unwrap();
        assert_same_ids(name, &tokenizer(&made["tokenizer.json"]), &tokenizer(&files["tokenizer.json"]));
    }
}

#[test]
fn sentencepiece_without_its_model_gives_the_same_ids() {
    let (name, vocab) = CHECKPOINTS[0];
    let (files, blobs) = files(name);
    let with = keys(&files, &blobs, vocab).unwrap();
    let without = keys(&files, &Blobs::new(), vocab).unwrap();
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id"] {
        assert_eq!(find(&with, key), find(&without, key), "{key}");
    }
    let made = texts(&without).unwrap();
    assert_same_ids(name, &tokenizer(&made["tokenizer.json"]), &tokenizer(&files["tokenizer.json"]));
    // llama.cpp merges by score: the order of scores is what counts, and it is the model's own.
    let scores = |keys: &Metadata| match find(keys, "tokenizer.ggml.scores") {
        Some(Value::F32s(scores)) => scores.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(scores(&with), scores(&without));
}

#[test]
fn the_template_and_the_special_tokens_come_back() {
    for (name, vocab) in CHECKPOINTS {
        let (files, blobs) = files(name);
        let made = texts(&keys(&files, &blobs, vocab).unwrap()).unwrap();
        let config: serde_json::Value = serde_json::from_str(&made["tokenizer_config.json"]).unwrap();
        let original: serde_json::Value = serde_json::from_str(&files["tokenizer_config.json"]).unwrap();
        for token in ["bos_token", "eos_token", "pad_token", "unk_token"] {
            let text = |value: &serde_json::Value| value.get("content").unwrap_or(value).clone();
            assert_eq!(config[token], text(&original[token]), "{name} {token}");
        }
        let inside = original.get("chat_template").and_then(|t| t.as_str());
        let template = inside.or_else(|| files.get("chat_template.jinja").map(String::as_str));
        assert_eq!(config["chat_template"].as_str(), template, "{name}");
        assert_eq!(config["add_bos_token"], original["add_bos_token"], "{name}");
    }
}

#[test]
fn what_is_refused_and_why() {
    let (files, blobs) = files("Phi-4-mini-tiny");
    let edit = |from: &str, to: &str| {
        let mut files = files.clone();
        let text = files["tokenizer.json"].replacen(from, to, 1);
        assert_ne!(text, files["tokenizer.json"], "{from} is not there");
        files.insert("tokenizer.json".into(), text);
        files
    };
    let cases = [
        (edit("\\\\p{N}{1,3}", "\\\\p{N}{1,4}"), ErrorKind::Unsupported, "splits text"),
        (edit("\"ByteLevel\"", "\"Metaspace\""), ErrorKind::Unsupported, "Metaspace"),
        (edit("\"normalizer\": null", "\"normalizer\": {\"type\": \"NFKC\"}"), ErrorKind::Unsupported, "NFKC"),
        (edit("\"type\": \"BPE\"", "\"type\": \"Unigram\""), ErrorKind::Unsupported, "Unigram"),
        (edit("\"id\": 303", "\"id\": 320"), ErrorKind::BadConfig, "320"),
        (edit("{", "["), ErrorKind::BadConfig, "no tokenizer"),
        (edit("{", "?"), ErrorKind::BadConfig, "not JSON"),
        (Texts::new(), ErrorKind::MissingFile, "tokenizer"),
    ];
    for (files, kind, word) in cases {
        let error = keys(&files, &blobs, 320).unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(word), "{error}");
        assert_eq!(error.file.as_deref(), Some("tokenizer.json"), "{error}");
    }
}

#[test]
fn damaged_sentencepiece_models_are_errors() {
    let (files, blobs) = files("tiny-phi3-spm");
    let model = &blobs["tokenizer.model"];
    let with = |bytes: &[u8]| keys(&files, &Blobs::from([("tokenizer.model".into(), bytes.to_vec())]), 440);
    for bad in [
        &b""[..],
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x02\x0a\x7f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"<html>",
    ] {
        let error = with(bad).unwrap_err();
        assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::BadConfig, Some("tokenizer.model")), "{error}");
    }
    // Cut anywhere, it is an error or fewer pieces, never a panic.
    for end in 0..model.len() {
        let _ = with(&model[..end]);
    }
}

#[test]
fn damaged_gguf_keys_are_errors() {
    let (files, blobs) = files("Phi-4-mini-tiny");
    let good = keys(&files, &blobs, 320).unwrap();
    let with = |key: &str, value: Option<Value>| {
        let mut keys = good.clone();
        keys.retain(|(name, _)| name != key);
        keys.extend(value.map(|value| (key.to_owned(), value)));
        texts(&keys)
    };
    let strings = |list: &[&str]| Some(Value::Strings(list.iter().map(ToString::to_string).collect()));
    for (key, value, kind) in [
        ("tokenizer.ggml.tokens", None, ErrorKind::BadHeader),
        ("tokenizer.ggml.tokens", Some(Value::U32(7)), ErrorKind::BadHeader),
        ("tokenizer.ggml.token_type", Some(Value::I32s(vec![1])), ErrorKind::BadHeader),
        ("tokenizer.ggml.merges", strings(&["ab"]), ErrorKind::BadHeader),
        ("tokenizer.ggml.pre", Some(Value::String("qwen2".into())), ErrorKind::Unsupported),
        ("tokenizer.ggml.pre", None, ErrorKind::Unsupported),
        ("tokenizer.ggml.model", Some(Value::String("rwkv".into())), ErrorKind::Unsupported),
        ("tokenizer.ggml.model", Some(Value::String("llama".into())), ErrorKind::BadHeader),
    ] {
        let error = with(key, value).unwrap_err();
        assert_eq!(error.kind, kind, "{key}: {error}");
    }
    assert!(texts(&Metadata::new()).unwrap().is_empty(), "a file without a tokenizer has no texts");
}
