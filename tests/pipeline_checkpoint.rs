//! Checkpoints that are not whole, or not what they say: each is an error that names the file or the tensor.

use phiquant::checkpoint::{Builder, Checkpoint, Kind};
use phiquant::pipeline::{Options, plan, schemes};
use phiquant::{Error, ErrorKind};
use std::collections::BTreeMap;

const CONFIG: &str = r#"{"architectures": ["Phi3ForCausalLM"], "vocab_size": 8, "hidden_size": 32,
    "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "eos_token_id": 7}"#;

/// Names and shapes.
type Tensors = Vec<(String, Vec<u64>)>;

/// A model of one layer with separate q, k, v, gate and up.
fn split_tensors() -> Tensors {
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    [
        ("model.embed_tokens.weight".to_owned(), vec![8, 32]),
        ("lm_head.weight".to_owned(), vec![8, 32]),
        ("model.norm.weight".to_owned(), vec![32]),
        (layer("input_layernorm"), vec![32]),
        (layer("post_attention_layernorm"), vec![32]),
        (layer("self_attn.q_proj"), vec![32, 32]),
        (layer("self_attn.k_proj"), vec![16, 32]),
        (layer("self_attn.v_proj"), vec![16, 32]),
        (layer("self_attn.o_proj"), vec![32, 32]),
        (layer("mlp.gate_proj"), vec![32, 32]),
        (layer("mlp.up_proj"), vec![32, 32]),
        (layer("mlp.down_proj"), vec![32, 32]),
    ]
    .into()
}

fn safetensors(tensors: &[(String, Vec<u64>)], dtype: &str, size: u64) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<u64>() * size;
        header.insert(name.clone(), serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
    }
    let text = serde_json::Value::Object(header).to_string();
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len() + end as usize, 0);
    bytes
}

/// A builder with files: texts by their names, the rest as weights.
fn open(files: &BTreeMap<&str, Vec<u8>>) -> phiquant::Result<Checkpoint> {
    let mut builder = Builder::default();
    for (name, bytes) in files {
        if name.ends_with(".json") {
            builder.add_text(name, String::from_utf8(bytes.clone()).unwrap())?;
        } else {
            builder.add_name(name);
        }
    }
    for name in builder.weight_files()? {
        let Some(bytes) = files.get(name.as_str()) else { continue };
        builder.push_header(&name, Some(bytes.len() as u64), bytes)?;
    }
    builder.finish()
}

fn whole() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("config.json", CONFIG.as_bytes().to_vec()),
        ("model.safetensors", safetensors(&split_tensors(), "BF16", 2)),
        ("tokenizer.json", br#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}}"#.to_vec()),
    ])
}

fn two_shards() -> BTreeMap<&'static str, Vec<u8>> {
    let tensors = split_tensors();
    let (a, b) = tensors.split_at(5);
    let mut files = whole();
    files.remove("model.safetensors");
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("a.safetensors", a), ("b.safetensors", b)] {
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), file.into())));
        files.insert(file, safetensors(tensors, "F16", 2));
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    files.insert("model.safetensors.index.json", index.into_bytes());
    files
}

fn fault(files: &BTreeMap<&str, Vec<u8>>) -> Error {
    open(files).expect_err("the checkpoint is faulty")
}

#[test]
fn parts_are_fused_by_their_rows() {
    for files in [whole(), two_shards()] {
        let checkpoint = open(&files).unwrap();
        assert_eq!((checkpoint.kind, checkpoint.name.as_str()), (Kind::Safetensors, "model"));
        let options = Options { format: "gguf".into(), scheme: "Q8_0".into(), ..Options::default() };
        let plan = plan(&checkpoint, &options).unwrap();
        let of = |output: &str| -> Vec<_> {
            let mut tasks: Vec<_> = plan.tasks.iter().filter(|task| task.output == output).collect();
            tasks.sort_by_key(|task| task.offset);
            tasks
        };
        // Queries, keys and values are written as they are, as by the converter.
        assert!(of("blk.0.attn_qkv.weight").is_empty());
        for (part, rows) in [("q", 32), ("k", 16), ("v", 16)] {
            let [task] = of(&format!("blk.0.attn_{part}.weight"))[..] else { panic!("one task for {part}") };
            assert_eq!((task.tensor.rsplit('.').nth(1), task.rows), (Some(&*format!("{part}_proj")), rows));
        }
        // Rows of 32 weights take 34 bytes in Q8_0.
        let up = of("blk.0.ffn_up.weight");
        assert_eq!(up.len(), 2);
        assert!(up[0].tensor.contains("gate_proj") && up[1].tensor.contains("up_proj"));
        assert_eq!(up[1].offset - up[0].offset, 32 * 34);
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut files = whole();
    files.remove("config.json");
    let error = fault(&files);
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::MissingFile, Some("config.json")));

    let mut files = whole();
    files.remove("model.safetensors");
    let error = fault(&files);
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::MissingFile, Some("model.safetensors")));

    let mut files = two_shards();
    files.remove("b.safetensors");
    let error = fault(&files);
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::MissingFile, Some("b.safetensors")));

    let mut files = two_shards();
    files.remove("model.safetensors.index.json");
    let error = fault(&files);
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::MissingFile, Some("model.safetensors.index.json")));

    for gone in ["lm_head.weight", "model.layers.0.self_attn.k_proj.weight", "model.layers.0.mlp.down_proj.weight"] {
        let mut tensors = split_tensors();
        tensors.retain(|(name, _)| name != gone);
        let mut files = whole();
        files.insert("model.safetensors", safetensors(&tensors, "BF16", 2));
        let error = fault(&files);
        assert_eq!((error.kind, error.tensor.as_deref()), (ErrorKind::MissingTensor, Some(gone)), "{error}");
    }

    let mut files = whole();
    files.remove("tokenizer.json");
    let checkpoint = open(&files).unwrap();
    let options = Options { format: "gguf".into(), scheme: "F16".into(), ..Options::default() };
    let error = plan(&checkpoint, &options).unwrap_err();
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::MissingFile, Some("tokenizer.json")));
}

#[test]
fn which_files_hold_the_weights() {
    let wanted = |names: &[&str]| {
        let mut builder = Builder::default();
        for name in names {
            match *name {
                "config.json" => builder.add_text(name, CONFIG.into()).unwrap(),
                _ => builder.add_name(name),
            }
        }
        builder.weight_files().map_err(|e| (e.kind, e.message))
    };
    assert_eq!(wanted(&["config.json"]), Ok(vec!["model.safetensors".into()]), "what is not known is asked for");
    assert_eq!(wanted(&["config.json", "weights.safetensors", "a.txt"]), Ok(vec!["weights.safetensors".into()]));
    assert_eq!(wanted(&["a.gguf"]), Ok(vec!["a.gguf".into()]));
    assert_eq!(wanted(&["config.json", "a.gguf"]), Ok(vec!["a.gguf".into()]));
    assert_eq!(wanted(&["config.json", "a.gguf", "model.safetensors"]), Ok(vec!["model.safetensors".into()]));
    let (kind, message) = wanted(&["b.gguf", "a.gguf"]).unwrap_err();
    assert_eq!((kind, message.contains("a.gguf, b.gguf")), (ErrorKind::BadOption, true));
    assert_eq!(
        wanted(&["config.json", "pytorch_model.bin", "training_args.bin"]),
        Ok(vec!["pytorch_model.bin".into()])
    );
    assert_eq!(wanted(&["config.json", "pytorch_model.bin", "x.safetensors"]), Ok(vec!["x.safetensors".into()]));
    assert_eq!(
        wanted(&["a-00002-of-00002.gguf"]),
        Ok(vec!["a-00001-of-00002.gguf".into(), "a-00002-of-00002.gguf".into()])
    );
    let (kind, _) =
        wanted(&["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]).unwrap_err();
    assert_eq!(kind, ErrorKind::MissingFile);
    assert_eq!(wanted(&[]).unwrap_err().0, ErrorKind::MissingFile);
}

#[test]
fn tensors_that_do_not_fit() {
    let change = |edit: fn(&mut Tensors)| {
        let mut tensors = split_tensors();
        edit(&mut tensors);
        let mut files = whole();
        files.insert("model.safetensors", safetensors(&tensors, "BF16", 2));
        fault(&files)
    };
    let error = change(|tensors| tensors[0].1 = vec![9, 32]);
    assert_eq!((error.kind, error.tensor.as_deref()), (ErrorKind::BadShape, Some("model.embed_tokens.weight")));
    assert_eq!(error.file.as_deref(), Some("model.safetensors"));
    let error = change(|tensors| tensors[0].1 = vec![8, 32, 1]);
    assert_eq!(error.kind, ErrorKind::BadShape);
    let error = change(|tensors| tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![32])));
    assert_eq!(
        (error.kind, error.tensor.as_deref()),
        (ErrorKind::Unsupported, Some("model.layers.0.self_attn.q_proj.bias"))
    );
    let error = change(|tensors| tensors.push(("model.layers.7.mlp.down_proj.weight".into(), vec![32, 32])));
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let error = change(|tensors| tensors.push(("model.layers.0.self_attn.qkv_proj.weight".into(), vec![64, 32])));
    assert_eq!(error.kind, ErrorKind::BadConfig, "{error}");

    // Of another type, but needless: no matter.
    let mut tensors = split_tensors();
    tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![8]));
    let mut files = whole();
    files.insert("model.safetensors", safetensors(&tensors, "BF16", 2));
    assert!(open(&files).is_ok());

    let mut files = whole();
    files.insert("model.safetensors", safetensors(&split_tensors(), "F8_E4M3", 1));
    let error = fault(&files);
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("F8_E4M3") && error.tensor.is_some(), "{error}");
}

#[test]
fn an_index_that_does_not_agree() {
    let with = |edit: &dyn Fn(String) -> String| {
        let mut files = two_shards();
        let index = String::from_utf8(files["model.safetensors.index.json"].clone()).unwrap();
        files.insert("model.safetensors.index.json", edit(index).into_bytes());
        fault(&files)
    };
    for (error, kind) in [
        (with(&|_| "{".into()), ErrorKind::BadConfig),
        (with(&|_| r#"{"weight_map": []}"#.into()), ErrorKind::BadConfig),
        (with(&|_| r#"{"weight_map": {}}"#.into()), ErrorKind::BadConfig),
        (with(&|text| text.replace("b.safetensors", "../b.safetensors")), ErrorKind::BadConfig),
        (with(&|text| text.replace("b.safetensors", "https://host/b.safetensors")), ErrorKind::BadConfig),
        (with(&|text| text.replace("\"lm_head.weight\":\"a", "\"lm_head.weight\":\"b")), ErrorKind::BadConfig),
        (with(&|text| text.replace("\"lm_head.weight\":\"a.safetensors\",", "")), ErrorKind::BadConfig),
    ] {
        assert_eq!((error.kind, error.file.as_deref()), (kind, Some("model.safetensors.index.json")), "{error}");
    }
    let error = with(&|text| text.replace("{\"model.embed", "{\"gone\":\"a.safetensors\",\"model.embed"));
    assert_eq!(
        (error.kind, error.tensor.as_deref(), error.file.as_deref()),
        (ErrorKind::MissingTensor, Some("gone"), Some("a.safetensors"))
    );

    // The same tensor in two files.
    let mut files = two_shards();
    files.insert("b.safetensors", safetensors(&split_tensors()[4..], "F16", 2));
    let error = fault(&files);
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::BadHeader, Some("b.safetensors")), "{error}");
}

#[test]
fn a_truncated_weight_file() {
    let mut files = whole();
    let bytes = files.get_mut("model.safetensors").unwrap();
    bytes.pop();
    let error = fault(&files);
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::Truncated, Some("model.safetensors")));

    let mut builder = Builder::default();
    builder.add_text("config.json", CONFIG.into()).unwrap();
    builder.push_header("model.safetensors", None, &files["model.safetensors"][..100]).unwrap();
    let error = builder.finish().unwrap_err();
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::Truncated, Some("model.safetensors")));
}

#[test]
fn a_name_that_llama_cpp_would_not_load_gets_a_space() {
    let (mut builder, files) = (Builder::default(), whole());
    builder.set_name("org/my-phi3-tune");
    for name in ["config.json", "tokenizer.json"] {
        builder.add_text(name, String::from_utf8(files[name].clone()).unwrap()).unwrap();
    }
    builder.push_header("model.safetensors", None, &files["model.safetensors"]).unwrap();
    let checkpoint = builder.finish().unwrap();
    let options = Options { format: "gguf".into(), scheme: "F16".into(), ..Options::default() };
    let plan = plan(&checkpoint, &options).unwrap();
    assert_eq!(plan.files[0].name, "my-phi3-tune-F16.gguf");
    let head = String::from_utf8_lossy(&plan.literals[0].bytes).into_owned();
    assert!(head.contains("My Phi 3 Tune") && !head.to_lowercase().contains("phi3 "), "general.name");
    assert_eq!(plan.notices.len(), 1, "{:?}", plan.notices);
}

#[test]
fn there_is_something_to_choose_from() {
    let choices = schemes();
    let names: Vec<_> = choices.iter().map(|choice| choice.scheme).collect();
    assert_eq!(names.len(), 23, "{names:?}");
    assert_eq!(names[..5], ["F32", "F16", "BF16", "Q8_0", "Q6_K"], "the largest first");
    assert_eq!((choices[3].bits, choices[3].group), (8.5, "Recommended"));
    let usual = choices.iter().find(|choice| choice.scheme == "Q4_K_M").unwrap();
    assert_eq!((usual.dtype, usual.group), ("Q4_K", "Recommended"));
    let json = serde_json::to_value(&choices[0]).unwrap();
    assert_eq!(json["format"], "gguf");
}
