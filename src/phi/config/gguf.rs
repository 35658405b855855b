//! GGUF metadata: llama.cpp's `phi2.*`, `phi3.*` and `phimoe.*` keys.

use super::{Biases, Config, Experts, Family, LongRope, Norm, Rope, Routing};
use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::{Metadata, Value};
use crate::phi::names::Role;
use crate::tensor::TensorInfo;

/// Tokens that llama.cpp (llama-vocab.cpp) takes for the end of an answer by their text, as far as Phis have them.
const END_TEXTS: &[&str] = &["<|end|>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>"];

impl Config {
    /// Reads a GGUF's metadata; the tensors say how large the vocabulary is, whether the output matrix is tied and
    /// whether there are LongRoPE factors.
    ///
    /// Fails with `NotAPhi`, `Unsupported`, `MissingTensor` or `BadConfig`, which names the key.
    pub fn from_gguf(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<Config> {
        let mut keys = Keys { metadata, prefix: "" };
        let family = Family::named(keys.text("general.architecture")?)?;
        keys.prefix = family.gguf();
        let tensor = |role: Role| {
            let name = role.gguf_name()?;
            tensors.iter().find(|tensor| tensor.name == name)
        };
        let there = |role: Role| tensor(role).is_some();
        let Some(embedding) = tensor(Role::TokenEmbedding) else {
            let missing = Error::new(ErrorKind::MissingTensor, "this GGUF has no token embedding");
            return Err(missing.in_tensor("token_embd.weight"));
        };

        let hidden = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let head_dim = match keys.optional_size("attention.key_length")? {
            Some(dim) => dim,
            None if heads == 0 || !hidden.is_multiple_of(heads) => {
                let prefix = keys.prefix;
                bail!(
                    BadConfig,
                    "{prefix}.attention.head_count ({heads}) does not divide {prefix}.embedding_length ({hidden})"
                )
            }
            None => hidden / heads,
        };
        let context = keys.size("context_length")?;
        let original = keys.optional_size("rope.scaling.original_context_length")?.unwrap_or(context);
        let long = there(Role::RopeFactorsLong).then_some(LongRope {
            short: Vec::new(),
            long: Vec::new(),
            attention_factor: keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
            mscale: None,
        });
        let experts = match keys.optional_size("expert_count")?.filter(|&count| count > 0) {
            Some(count) => Some(Experts {
                count,
                used: keys.size("expert_used_count")?,
                // GGUF has no key for the noise; every published model says 0.01.
                routing: Routing::SparseMixer { jitter: 0.01 },
            }),
            None if family == Family::PhiMoe => bail!(BadConfig, "phimoe.expert_count is not there"),
            None => None,
        };
        let eps =
            if family == Family::Phi2 { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
        Config {
            architecture: family.architecture().to_owned(),
            family,
            vocab: usize::try_from(embedding.rows()).unwrap_or(usize::MAX),
            hidden,
            ffn: keys.size("feed_forward_length")?,
            layers: keys.size("block_count")?,
            heads,
            kv_heads: keys.optional_size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            norm: family.norm(),
            norm_eps: keys.number(eps)?.unwrap_or(1e-5),
            parallel: family == Family::Phi2,
            activation: family.activation(),
            biases: Biases {
                norm: family.norm() == Norm::Layer,
                attention: there(Role::AttentionOutputBias(0)),
                ffn: family == Family::Phi2,
                output: there(Role::OutputBias),
            },
            experts,
            tied: !there(Role::Output),
            // convert_hf_to_gguf.py writes 0 where config.json says null.
            sliding_window: keys.optional_size("attention.sliding_window")?.filter(|&n| n > 0),
            context,
            original_context: original,
            rope: Rope {
                theta: keys.number("rope.freq_base")?.unwrap_or(10_000.0),
                dim: keys.optional_size("rope.dimension_count")?.unwrap_or(head_dim),
                long,
            },
            bos: keys.token("tokenizer.ggml.bos_token_id")?,
            eos: end_tokens(&keys)?,
            pad: keys.token("tokenizer.ggml.padding_token_id")?,
        }
        .check()
    }
}

/// The keys of the family for a configuration, in convert_hf_to_gguf.py's order and with `general.file_type` among them,
/// as there.
pub fn metadata(config: &Config, file_type: u32) -> Metadata {
    let prefix = config.family.gguf();
    let key = |name: &str, value: Value| (format!("{prefix}.{name}"), value);
    let size = |name: &str, n: usize| key(name, Value::U32(u32::try_from(n).unwrap_or(u32::MAX)));
    let file_type = ("general.file_type".to_owned(), Value::U32(file_type));
    let mut keys = vec![size("context_length", config.context)];
    if config.family != Family::Phi2 {
        keys.push(size("rope.scaling.original_context_length", config.original_context));
    }
    keys.extend([
        size("embedding_length", config.hidden),
        size("feed_forward_length", config.ffn),
        size("block_count", config.layers),
        size("attention.head_count", config.heads),
        size("attention.head_count_kv", config.kv_heads),
    ]);
    let eps = Value::F32(config.norm_eps);
    if config.family == Family::Phi2 {
        // The converter has no base of the rotation here: every Phi-2 has llama.cpp's own, 10 000.
        if config.rope.theta != 10_000.0 {
            keys.push(key("rope.freq_base", Value::F32(config.rope.theta)));
        }
        // llama.cpp puts no token before a text.
        let no_bos = ("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(false));
        let (eps, dim) = (key("attention.layer_norm_epsilon", eps), size("rope.dimension_count", config.rope.dim));
        keys.extend([eps, dim, file_type, no_bos]);
        return keys;
    }
    keys.extend([
        key("attention.layer_norm_rms_epsilon", eps),
        size("rope.dimension_count", config.rope.dim),
        key("rope.freq_base", Value::F32(config.rope.theta)),
        file_type,
        // llama.cpp reads no window as 0.
        size("attention.sliding_window", config.sliding_window.unwrap_or(0)),
    ]);
    if let Some(experts) = &config.experts {
        keys.extend([size("expert_used_count", experts.used), size("expert_count", experts.count)]);
    }
    keys
}

fn end_tokens(keys: &Keys) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for key in ["eos", "eot", "eom"] {
        ids.extend(keys.token(&format!("tokenizer.ggml.{key}_token_id"))?);
    }
    if let Some(Value::Strings(tokens)) = keys.get("tokenizer.ggml.tokens") {
        let ends = tokens.iter().zip(0u32..).filter(|(token, _)| END_TEXTS.contains(&token.as_str()));
        ids.extend(ends.map(|(_, id)| id));
    }
    let mut seen = Vec::new();
    ids.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
    Ok(ids)
}

struct Keys<'a> {
    metadata: &'a Metadata,
    /// The architecture, which stands before the model's own keys.
    prefix: &'a str,
}

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn text(&self, key: &str) -> Result<&'a str> {
        match self.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => bail!(BadConfig, "{key} is not a string"),
            None => bail!(BadConfig, "{key} is not there"),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        match self.optional_size(key)? {
            Some(n) => Ok(n),
            None => bail!(BadConfig, "{}.{key} is not there", self.prefix),
        }
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(&format!("{}.{key}", self.prefix)) else { return Ok(None) };
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => bail!(BadConfig, "{}.{key} is not a whole number", self.prefix),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        match self.get(&format!("{}.{key}", self.prefix)) {
            None => Ok(None),
            Some(Value::F32(n)) => Ok(Some(*n)),
            Some(Value::F64(n)) => Ok(Some(*n as f32)),
            Some(_) => bail!(BadConfig, "{}.{key} is not a number", self.prefix),
        }
    }

    fn token(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            // llama.cpp's "none" is −1 as u32.
            Some(u32::MAX) => Ok(None),
            Some(id) => Ok(Some(id)),
            None => bail!(BadConfig, "{key} is not a token id"),
        }
    }
}
