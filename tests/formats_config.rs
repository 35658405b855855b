//! config.json in both spellings, its defaults, and what is refused.

use phiquant::ErrorKind;
use phiquant::phi::config::{Activation, Biases, Config, Experts, Family, Norm, Routing};

/// Phi-4-mini's shape in the Hub's spelling, scaled down.
fn hub(extra: &str) -> String {
    let factors = |base: f32| (0..12).map(|i| format!("{}", base + i as f32)).collect::<Vec<_>>().join(", ");
    format!(
        r#"{{"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "torch_dtype": "bfloat16",
        "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
        "num_attention_heads": 8, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "hidden_act": "silu",
        "max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "partial_rotary_factor": 0.75,
        "rope_theta": 20000.0, "rope_scaling": {{"type": "longrope", "short_factor": [{}], "long_factor": [{}]}},
        "sliding_window": 262144, "tie_word_embeddings": true,
        "bos_token_id": 999, "eos_token_id": 999 {extra}}}"#,
        factors(1.0),
        factors(2.5),
    )
}

#[test]
fn both_spellings_say_the_same() {
    let hub = hub("");
    let mut value: serde_json::Value = serde_json::from_str(&hub).unwrap();
    let map = value.as_object_mut().unwrap();
    let mut rope = map.remove("rope_scaling").unwrap();
    let inner = rope.as_object_mut().unwrap();
    inner.remove("type");
    inner.insert("rope_type".into(), "longrope".into());
    inner.insert("rope_theta".into(), map.remove("rope_theta").unwrap());
    inner.insert("partial_rotary_factor".into(), map.remove("partial_rotary_factor").unwrap());
    inner.insert("original_max_position_embeddings".into(), map["original_max_position_embeddings"].clone());
    map.insert("rope_parameters".into(), rope);
    map.remove("torch_dtype");
    map.insert("dtype".into(), "bfloat16".into());

    let first = Config::from_json(&hub, None).unwrap();
    let second = Config::from_json(&value.to_string(), None).unwrap();
    assert_eq!(first, second);

    assert_eq!((first.head_dim, first.rope.dim, first.kv_heads), (32, 24, 4));
    assert_eq!((first.context, first.original_context), (131_072, 4096));
    assert_eq!(first.rope.theta, 20_000.0);
    assert_eq!(first.sliding_window, Some(262_144));
    assert!(first.tied);
    let long = first.rope.long.unwrap();
    assert_eq!(long.short[..2], [1.0, 2.0]);
    assert_eq!(long.long[11], 13.5);
    // sqrt(1 + ln 32 / ln 4096), as transformers computes it for Phi-4-mini.
    assert_eq!(long.attention_factor, 1.190_238_1);
    assert_eq!((first.bos, first.eos, first.pad), (Some(999), vec![999], Some(32000)));
}

#[test]
fn early_phi3_files_say_su() {
    let text = hub("").replace("longrope", "su").replace(r#""type""#, r#""rope_type""#);
    assert!(Config::from_json(&text, None).unwrap().rope.long.is_some());
}

#[test]
fn defaults_are_those_of_transformers() {
    let config = Config::from_json(r#"{"model_type": "phi3"}"#, None).unwrap();
    assert_eq!(config.architecture, "Phi3ForCausalLM");
    assert_eq!((config.vocab, config.hidden, config.ffn, config.layers), (32064, 3072, 8192, 32));
    assert_eq!((config.heads, config.kv_heads, config.head_dim, config.rope.dim), (32, 32, 96, 96));
    assert_eq!((config.context, config.original_context), (4096, 4096));
    assert_eq!((config.norm_eps, config.rope.theta, config.tied), (1e-5, 10_000.0, false));
    assert_eq!((config.sliding_window, config.rope.long), (None, None));
    assert_eq!((config.bos, config.eos, config.pad), (Some(1), vec![32000], Some(32000)));
}

/// A Phi-3.5-MoE in the Hub's spelling with its defaults, and a field.
fn moe(field: &str) -> String {
    format!(r#"{{"architectures": ["PhiMoEForCausalLM"], "model_type": "phimoe", {field}}}"#)
}

#[test]
fn phi2_in_every_spelling() {
    let defaults = Config::from_json(r#"{"model_type": "phi"}"#, None).unwrap();
    assert_eq!((defaults.architecture.as_str(), defaults.family), ("PhiForCausalLM", Family::Phi2));
    assert_eq!((defaults.vocab, defaults.hidden, defaults.ffn, defaults.layers), (51200, 2048, 8192, 24));
    assert_eq!((defaults.heads, defaults.kv_heads, defaults.head_dim, defaults.rope.dim), (32, 32, 64, 32));
    assert_eq!((defaults.norm, defaults.norm_eps, defaults.parallel), (Norm::Layer, 1e-5, true));
    assert_eq!((defaults.activation, defaults.tied), (Activation::Gelu, false));
    assert_eq!(defaults.biases, Biases { norm: true, attention: true, ffn: true, output: true });
    assert_eq!((defaults.bos, defaults.eos.as_slice(), defaults.pad), (Some(1), &[2][..], None));

    // microsoft/phi-2, shortened: today's spelling, that of transformers 5, and the first one.
    let hub = r#"{"architectures": ["PhiForCausalLM"], "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "partial_rotary_factor": 0.4, "qk_layernorm": false,
        "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "float16",
        "vocab_size": 51200, "bos_token_id": 50256, "eos_token_id": 50256}"#;
    let new = hub.replace(r#""rope_scaling": null, "rope_theta": 10000.0,"#, "").replace(
        r#""partial_rotary_factor": 0.4"#,
        r#""rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.4}"#,
    );
    let old = r#"{"architectures": ["PhiForCausalLM"], "model_type": "phi-msft", "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-05, "n_embd": 2560, "n_head": 32, "n_head_kv": null, "n_inner": null, "n_layer": 32,
        "n_positions": 2048, "rotary_dim": 32, "tie_word_embeddings": false, "torch_dtype": "float16", "vocab_size": 51200,
        "bos_token_id": 50256, "eos_token_id": 50256}"#;
    let config = Config::from_json(hub, None).unwrap();
    assert_eq!((config.hidden, config.ffn, config.layers, config.head_dim, config.rope.dim), (2560, 10240, 32, 80, 32));
    assert_eq!((config.context, config.original_context), (2048, 2048));
    assert_eq!(Config::from_json(&new, None).unwrap(), config);
    assert_eq!(Config::from_json(old, None).unwrap(), config);
}

#[test]
fn mixtures_of_experts() {
    let config = Config::from_json(&moe(r#""torch_dtype": "bfloat16""#), None).unwrap();
    assert_eq!((config.vocab, config.hidden, config.ffn, config.layers), (32064, 4096, 6400, 32));
    assert_eq!((config.heads, config.kv_heads, config.context, config.rope.theta), (32, 8, 131_072, 1e6));
    assert_eq!((config.norm, config.parallel, config.activation), (Norm::Layer, false, Activation::SwiGlu));
    assert_eq!(config.biases, Biases { norm: true, ..Biases::default() });
    let routing = Routing::SparseMixer { jitter: 0.01 };
    assert_eq!(config.experts, Some(Experts { count: 16, used: 2, routing }));
    assert_eq!(config, Config::from_json(r#"{"model_type": "phimoe"}"#, None).unwrap());

    let factors =
        |base: f32| format!("[{}]", (0..64).map(|i| format!("{}", base + i as f32)).collect::<Vec<_>>().join(","));
    let text = moe(&format!(
        r#""attention_bias": true, "lm_head_bias": true, "router_jitter_noise": 0.02, "rope_theta": 10000.0,
        "original_max_position_embeddings": 4096, "rope_scaling": {{"type": "longrope", "short_factor": {},
        "long_factor": {}, "short_mscale": 1.24, "long_mscale": 1.3, "original_max_position_embeddings": 4096}}"#,
        factors(1.0),
        factors(2.0)
    ));
    let config = Config::from_json(&text, None).unwrap();
    assert_eq!(config.biases, Biases { norm: true, attention: true, ffn: false, output: true });
    assert_eq!(config.experts.unwrap().routing, Routing::SparseMixer { jitter: 0.02 });
    let long = config.rope.long.unwrap();
    assert_eq!((long.mscale, long.attention_factor), (Some([1.24, 1.3]), 1.190_238_1));
    // Phi-tiny-MoE's heads are not as wide as its stream.
    let tiny = moe(r#""num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 448"#);
    let tiny = Config::from_json(&tiny, None).unwrap();
    assert_eq!((tiny.hidden, tiny.head_dim, tiny.rope.dim), (4096, 128, 128));
}

#[test]
fn end_tokens_come_from_both_files() {
    let generation = r#"{"eos_token_id": [999, 7, 8], "do_sample": true}"#;
    assert_eq!(Config::from_json(&hub(""), Some(generation)).unwrap().eos, [999, 7, 8]);
    let none = hub("").replace(r#""eos_token_id": 999"#, r#""eos_token_id": null"#);
    assert_eq!(Config::from_json(&none, None).unwrap().eos, [0u32; 0]);
    let error = Config::from_json(&hub(""), Some("[]")).unwrap_err();
    assert_eq!((error.kind, error.file.as_deref()), (ErrorKind::BadConfig, Some("generation_config.json")));
}

#[test]
fn what_is_refused_and_why() {
    use ErrorKind::{BadConfig, NotAPhi, Unsupported};
    let arch = |name: &str| hub("").replace("Phi3ForCausalLM", name);
    let set = |field: &str, value: &str| hub(&format!(r#", "{field}": {value}"#));
    let cases = [
        (arch("LlamaForCausalLM"), NotAPhi, "LlamaForCausalLM"),
        (arch("MixFormerSequentialForCausalLM"), Unsupported, "first release"),
        (arch("Phi3SmallForCausalLM"), Unsupported, "Phi-3-small"),
        (arch("Phi3VForCausalLM"), Unsupported, "vision"),
        (arch("Phi4MMForCausalLM"), Unsupported, "multimodal"),
        (arch("Phi9ForCausalLM"), Unsupported, "does not know"),
        (r#"{"model_type": "gemma3"}"#.into(), NotAPhi, "gemma3"),
        ("{}".into(), BadConfig, "architectures"),
        (r#"{"architectures": []}"#.into(), BadConfig, "architectures"),
        ("[1]".into(), BadConfig, "not an object"),
        ("{".into(), BadConfig, "not JSON"),
        (set("hidden_size", "\"256\""), BadConfig, "hidden_size"),
        (set("hidden_size", "-1"), BadConfig, "hidden_size"),
        (set("hidden_size", "255"), BadConfig, "num_attention_heads"),
        (set("hidden_size", "1e30"), BadConfig, "hidden_size"),
        (set("num_attention_heads", "0"), BadConfig, "num_attention_heads"),
        (set("num_hidden_layers", "99999999999"), BadConfig, "num_hidden_layers"),
        (set("num_key_value_heads", "3"), BadConfig, "num_key_value_heads"),
        (set("vocab_size", "0"), BadConfig, "vocab_size"),
        (set("partial_rotary_factor", "0.1"), BadConfig, "short_factor"),
        (set("rope_scaling", "null, \"partial_rotary_factor\": 0.03"), BadConfig, "partial_rotary_factor"),
        (set("rope_scaling", "{\"type\": \"longrope\"}"), BadConfig, "short_factor"),
        (set("rope_scaling", "{\"type\": \"llama3\"}"), Unsupported, "llama3"),
        (set("rope_scaling", "7"), BadConfig, "rope_scaling"),
        (set("rope_theta", "-5"), BadConfig, "rope_theta"),
        (set("rms_norm_eps", "-1"), BadConfig, "rms_norm_eps"),
        (set("sliding_window", "0"), BadConfig, "sliding_window"),
        (set("eos_token_id", "\"<|end|>\""), BadConfig, "eos_token_id"),
        (set("tie_word_embeddings", "1"), BadConfig, "tie_word_embeddings"),
        (set("hidden_act", "\"gelu\""), Unsupported, "hidden_act"),
        (moe(r#""num_experts_per_tok": 3"#), Unsupported, "num_experts_per_tok"),
        (moe(r#""num_local_experts": 1"#), BadConfig, "num_local_experts"),
        (moe(r#""router_jitter_noise": -1"#), BadConfig, "router_jitter_noise"),
        (moe(r#""hidden_act": "gelu_new""#), Unsupported, "hidden_act"),
        (r#"{"model_type": "phi", "hidden_act": "silu"}"#.into(), Unsupported, "hidden_act"),
        (r#"{"model_type": "phi", "qk_layernorm": true}"#.into(), Unsupported, "qk_layernorm"),
        (set("quantization_config", "{\"bits\": 4}"), Unsupported, "quantized already"),
    ];
    for (text, kind, word) in cases {
        let error = Config::from_json(&text, None).expect_err(&text);
        assert_eq!(error.kind, kind, "{error}\n{text}");
        assert!(error.message.contains(word), "{error}: should name {word}");
        assert_eq!(error.file.as_deref(), Some("config.json"));
    }
}
