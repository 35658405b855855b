//! config.json: the Hub's spelling (rope_theta, rope_scaling) and that of transformers 5 (rope_parameters).
//! Defaults are those of `PhiConfig`, `Phi3Config` and `PhimoeConfig` in transformers 5.23. The first files of Phi-1.5 and
//! Phi-2 ("phi-msft") say `n_embd` where later ones say `hidden_size`, and so on.

use super::{ARCHITECTURES, Activation, Biases, Config, Experts, Family, LongRope, Rope, Routing};
use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

impl Config {
    /// Reads config.json (both the Hub's rope_scaling spelling and transformers 5's rope_parameters) and, for the end
    /// tokens, generation_config.json.
    ///
    /// Fails with `NotAPhi`, `Unsupported` (another Phi, or a setting that no Phi has) or `BadConfig`, which names the
    /// field.
    pub fn from_json(config: &str, generation_config: Option<&str>) -> Result<Config> {
        read(config).map_err(|e| e.in_file("config.json")).and_then(|mut config| {
            if let Some(text) = generation_config {
                let more = end_tokens(text).map_err(|e| e.in_file("generation_config.json"))?;
                config.eos.extend(more.iter().filter(|id| !config.eos.contains(id)).copied().collect::<Vec<_>>());
            }
            Ok(config)
        })
    }
}

fn parse(text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => bail!(BadConfig, "this is JSON, but not an object"),
        Err(e) => bail!(BadConfig, "this is not JSON: {e}"),
    }
}

fn end_tokens(text: &str) -> Result<Vec<u32>> {
    let map = parse(text)?;
    Ok(Fields(&map).ids("eos_token_id")?.unwrap_or_default())
}

/// The fields of an object; null counts as absent, as it does for transformers.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => bail!(BadConfig, "{field} is {}; a whole number is wanted", brief(value)),
        }
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_f64() {
            Some(n) => Ok(Some(n)),
            None => bail!(BadConfig, "{field} is {}; a number is wanted", brief(value)),
        }
    }

    fn flag(&self, field: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_bool() {
            Some(flag) => Ok(Some(flag)),
            None => bail!(BadConfig, "{field} is {}; true or false is wanted", brief(value)),
        }
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => bail!(BadConfig, "{field} is {}; a text is wanted", brief(value)),
        }
    }

    fn object(&self, field: &str) -> Result<Option<Fields<'a>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        match value.as_object() {
            Some(map) => Ok(Some(Fields(map))),
            None => bail!(BadConfig, "{field} is {}; an object is wanted", brief(value)),
        }
    }

    fn numbers(&self, field: &str) -> Result<Option<Vec<f32>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let numbers = value.as_array().and_then(|list| list.iter().map(|v| v.as_f64().map(|n| n as f32)).collect());
        match numbers {
            Some(numbers) => Ok(Some(numbers)),
            None => bail!(BadConfig, "{field} is {}; a list of numbers is wanted", brief(value)),
        }
    }

    /// One token id, or a list of them.
    fn ids(&self, field: &str) -> Result<Option<Vec<u32>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let one = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = match value {
            Value::Array(list) => list.iter().map(one).collect(),
            value => one(value).map(|id| vec![id]),
        };
        match ids {
            Some(ids) => Ok(Some(ids)),
            None => bail!(BadConfig, "{field} is {}; a token id or a list of them is wanted", brief(value)),
        }
    }

    /// As transformers: a field that is absent takes the default, a field that is null takes none.
    fn id_or(&self, field: &str, default: Option<u32>) -> Result<Option<Vec<u32>>> {
        if self.0.contains_key(field) { self.ids(field) } else { Ok(default.map(|id| vec![id])) }
    }

    /// The first of several spellings that is there.
    fn any_size(&self, fields: &[&str]) -> Result<Option<usize>> {
        fields.iter().find_map(|field| self.size(field).transpose()).transpose()
    }
}

/// A value as part of an error message: short, whatever the file holds.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What transformers takes where config.json is silent.
struct Defaults {
    vocab: usize,
    hidden: usize,
    ffn: usize,
    layers: usize,
    /// `None`: as many as heads.
    kv_heads: Option<usize>,
    context: usize,
    /// Tokens of the first training; `None`: the context.
    original: Option<usize>,
    theta: f64,
    partial: f64,
    eos: u32,
    pad: Option<u32>,
}

const fn defaults(family: Family) -> Defaults {
    match family {
        Family::Phi2 => Defaults {
            vocab: 51200,
            hidden: 2048,
            ffn: 8192,
            layers: 24,
            kv_heads: None,
            context: 2048,
            original: None,
            theta: 10_000.0,
            partial: 0.5,
            eos: 2,
            pad: None,
        },
        Family::Phi3 => Defaults {
            vocab: 32064,
            hidden: 3072,
            ffn: 8192,
            layers: 32,
            kv_heads: None,
            context: 4096,
            original: Some(4096),
            theta: 10_000.0,
            partial: 1.0,
            eos: 32000,
            pad: Some(32000),
        },
        Family::PhiMoe => Defaults {
            vocab: 32064,
            hidden: 4096,
            ffn: 6400,
            layers: 32,
            kv_heads: Some(8),
            context: 131_072,
            original: None,
            theta: 1e6,
            partial: 1.0,
            eos: 2,
            pad: None,
        },
    }
}

fn read(text: &str) -> Result<Config> {
    let map = parse(text)?;
    let fields = Fields(&map);
    let architecture = architecture(&fields)?;
    let family = Family::named(&architecture)?;
    let defaults = defaults(family);
    refuse(&fields, family)?;

    let old_hidden = fields.size("n_embd")?;
    let hidden = fields.size("hidden_size")?.or(old_hidden).unwrap_or(defaults.hidden);
    let ffn = fields.any_size(&["intermediate_size", "n_inner"])?;
    let heads = fields.any_size(&["num_attention_heads", "n_head"])?.unwrap_or(32);
    let head_dim = match fields.size("head_dim")? {
        Some(dim) => dim,
        None if heads == 0 => bail!(BadConfig, "num_attention_heads is 0"),
        None if !hidden.is_multiple_of(heads) => {
            bail!(BadConfig, "num_attention_heads ({heads}) does not divide hidden_size ({hidden})")
        }
        None => hidden / heads,
    };
    let context = fields.any_size(&["max_position_embeddings", "n_positions"])?.unwrap_or(defaults.context);
    let (rope, original_context) = rope(&fields, &defaults, head_dim, context)?;
    let eps = fields.number("rms_norm_eps")?.or(fields.number("layer_norm_eps")?);
    let one = |ids: Option<Vec<u32>>| ids.and_then(|ids| ids.first().copied());
    let flag = |field: &str| Ok::<bool, Error>(fields.flag(field)?.unwrap_or(false));
    let biases = match family {
        Family::Phi2 => Biases { norm: true, attention: true, ffn: true, output: true },
        Family::Phi3 => Biases::default(),
        Family::PhiMoe => {
            Biases { norm: true, attention: flag("attention_bias")?, ffn: false, output: flag("lm_head_bias")? }
        }
    };
    let experts = match family {
        Family::PhiMoe => Some(Experts {
            count: fields.size("num_local_experts")?.unwrap_or(16),
            used: fields.size("num_experts_per_tok")?.unwrap_or(2),
            routing: Routing::SparseMixer { jitter: fields.number("router_jitter_noise")?.unwrap_or(0.01) as f32 },
        }),
        _ => None,
    };
    Config {
        architecture,
        family,
        vocab: fields.size("vocab_size")?.unwrap_or(defaults.vocab),
        hidden,
        ffn: ffn.or(old_hidden.map(|hidden| hidden.saturating_mul(4))).unwrap_or(defaults.ffn),
        layers: fields.any_size(&["num_hidden_layers", "n_layer"])?.unwrap_or(defaults.layers),
        heads,
        kv_heads: fields.any_size(&["num_key_value_heads", "n_head_kv"])?.or(defaults.kv_heads).unwrap_or(heads),
        head_dim,
        norm: family.norm(),
        norm_eps: eps.or(fields.number("layer_norm_epsilon")?).unwrap_or(1e-5) as f32,
        parallel: family == Family::Phi2,
        activation: family.activation(),
        biases,
        experts,
        tied: flag("tie_word_embeddings")?,
        sliding_window: fields.size("sliding_window")?.filter(|_| family != Family::Phi2),
        context,
        original_context,
        rope,
        bos: one(fields.id_or("bos_token_id", Some(1))?),
        eos: fields.id_or("eos_token_id", Some(defaults.eos))?.unwrap_or_default(),
        pad: one(fields.id_or("pad_token_id", defaults.pad)?),
    }
    .check()
}

/// Settings that would make another model than the one that runs.
fn refuse(fields: &Fields, family: Family) -> Result<()> {
    if fields.get("quantization_config").or(fields.get("quantization")).is_some() {
        bail!(
            Unsupported,
            "the weights are quantized already (quantization_config); open the original checkpoint in bf16, f16 or f32"
        );
    }
    let known: &[&str] = match family.activation() {
        Activation::SwiGlu => &["silu", "swish"],
        Activation::Gelu => &["gelu_new", "gelu_pytorch_tanh", "gelu_fast"],
    };
    for field in ["hidden_act", "activation_function"] {
        if let Some(act) = fields.text(field)?.filter(|act| !known.contains(act)) {
            bail!(Unsupported, "{field} is {act}; these models use {}", known[0]);
        }
    }
    if fields.flag("qk_layernorm")? == Some(true) {
        bail!(Unsupported, "qk_layernorm is true: no published Phi normalizes queries and keys, and phiquant does not");
    }
    Ok(())
}

/// `architectures[0]`, or what `model_type` implies.
fn architecture(fields: &Fields) -> Result<String> {
    if let Some(list) = fields.get("architectures") {
        match list.as_array().and_then(|list| list.first()).and_then(Value::as_str) {
            Some(name) => return Ok(name.to_owned()),
            None => bail!(BadConfig, "architectures is {}; a list with one name is wanted", brief(list)),
        }
    }
    match fields.text("model_type")? {
        Some(kind) => {
            let known = ARCHITECTURES.iter().find(|(_, model_type, ..)| *model_type == kind);
            Ok(known.map_or(kind, |(name, ..)| name).to_owned())
        }
        None => bail!(BadConfig, "neither architectures nor model_type says which model this is"),
    }
}

/// The rotary embedding, and the original context.
fn rope(fields: &Fields, defaults: &Defaults, head_dim: usize, context: usize) -> Result<(Rope, usize)> {
    // transformers lets rope_scaling win over rope_parameters, and the values inside over those beside it.
    let inner = match fields.object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None => fields.object("rope_parameters")?,
    };
    let none = Map::new();
    let inner = inner.unwrap_or(Fields(&none));
    let theta = inner.number("rope_theta")?.or(fields.number("rope_theta")?).unwrap_or(defaults.theta);
    let partial = inner.number("partial_rotary_factor")?.or(fields.number("partial_rotary_factor")?);
    let dim = match fields.size("rotary_dim")? {
        Some(dim) if partial.is_none() => dim,
        _ => (head_dim as f64 * partial.unwrap_or(defaults.partial)) as usize,
    };
    // The model's own field wins over the one among the rope parameters.
    let original = fields
        .size("original_max_position_embeddings")?
        .or(inner.size("original_max_position_embeddings")?)
        .or(defaults.original)
        .unwrap_or(context);

    let kind = inner.text("rope_type")?.or(inner.text("type")?).unwrap_or("default");
    let long = match kind {
        "default" => None,
        // transformers reads "su" and "yarn", which early Phi-3 files say, as "longrope".
        "longrope" | "su" | "yarn" => Some(long_rope(&inner, dim, context, original)?),
        other => bail!(Unsupported, "the rope type is {other}; Phis use default or longrope"),
    };
    Ok((Rope { theta: theta as f32, dim, long }, original))
}

fn long_rope(inner: &Fields, dim: usize, context: usize, original: usize) -> Result<LongRope> {
    let factors = |field: &str| -> Result<Vec<f32>> {
        let Some(factors) = inner.numbers(field)? else {
            return Err(Error::new(ErrorKind::BadConfig, format!("LongRoPE needs {field}, which is not there")));
        };
        if factors.len() != dim / 2 {
            bail!(
                BadConfig,
                "{field} has {} numbers; {} elements of a head rotate, so it needs {}",
                factors.len(),
                dim,
                dim / 2
            );
        }
        Ok(factors)
    };
    let stretch = match inner.number("factor")? {
        Some(factor) => factor,
        None => context as f64 / original.max(1) as f64,
    };
    let attention_factor = match inner.number("attention_factor")? {
        Some(factor) => factor,
        None if stretch <= 1.0 => 1.0,
        None => (1.0 + stretch.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(LongRope {
        short: factors("short_factor")?,
        long: factors("long_factor")?,
        attention_factor: attention_factor as f32,
        mscale: mscale(inner)?,
    })
}

/// Phi-3.5-MoE's own scales for short and for long texts; transformers wants both where it wants one.
fn mscale(inner: &Fields) -> Result<Option<[f32; 2]>> {
    let (short, long) = (inner.number("short_mscale")?, inner.number("long_mscale")?);
    Ok(short.zip(long).map(|(short, long)| [short as f32, long as f32]))
}
