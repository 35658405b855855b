//! GGUF metadata: llama.cpp's `phi3.*` keys.

use super::{ARCHITECTURE, Config, GGUF_ARCHITECTURE, LongRope, Rope, check_architecture};
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
        let keys = Keys(metadata);
        let architecture = keys.text("general.architecture")?;
        check_architecture(architecture, GGUF_ARCHITECTURE)?;
        let tensor = |role: Role| {
            let name = role.gguf_name()?;
            tensors.iter().find(|tensor| tensor.name == name)
        };
        let Some(embedding) = tensor(Role::TokenEmbedding) else {
            let missing = Error::new(ErrorKind::MissingTensor, "this GGUF has no token embedding");
            return Err(missing.in_tensor("token_embd.weight"));
        };

        let hidden = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let head_dim = match keys.optional_size("attention.key_length")? {
            Some(dim) => dim,
            None if heads == 0 || !hidden.is_multiple_of(heads) => {
                bail!(BadConfig, "phi3.attention.head_count ({heads}) does not divide phi3.embedding_length ({hidden})")
            }
            None => hidden / heads,
        };
        let context = keys.size("context_length")?;
        let original = keys.optional_size("rope.scaling.original_context_length")?.unwrap_or(context);
        let long = tensor(Role::RopeFactorsLong).is_some().then_some(LongRope {
            short: Vec::new(),
            long: Vec::new(),
            attention_factor: keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
        });
        Config {
            architecture: ARCHITECTURE.to_owned(),
            vocab: usize::try_from(embedding.rows()).unwrap_or(usize::MAX),
            hidden,
            ffn: keys.size("feed_forward_length")?,
            layers: keys.size("block_count")?,
            heads,
            kv_heads: keys.optional_size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            norm_eps: keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            tied: tensor(Role::Output).is_none(),
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

/// The `phi3.*` keys for a configuration, in convert_hf_to_gguf.py's order and with `general.file_type` among them, as
/// there.
pub fn metadata(config: &Config, file_type: u32) -> Metadata {
    let size = |n: usize| Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let keys = [
        ("phi3.context_length", size(config.context)),
        ("phi3.rope.scaling.original_context_length", size(config.original_context)),
        ("phi3.embedding_length", size(config.hidden)),
        ("phi3.feed_forward_length", size(config.ffn)),
        ("phi3.block_count", size(config.layers)),
        ("phi3.attention.head_count", size(config.heads)),
        ("phi3.attention.head_count_kv", size(config.kv_heads)),
        ("phi3.attention.layer_norm_rms_epsilon", Value::F32(config.norm_eps)),
        ("phi3.rope.dimension_count", size(config.rope.dim)),
        ("phi3.rope.freq_base", Value::F32(config.rope.theta)),
        ("general.file_type", Value::U32(file_type)),
        // llama.cpp reads no window as 0.
        ("phi3.attention.sliding_window", size(config.sliding_window.unwrap_or(0))),
    ];
    keys.map(|(key, value)| (key.to_owned(), value)).into()
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

struct Keys<'a>(&'a Metadata);

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
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
            None => bail!(BadConfig, "phi3.{key} is not there"),
        }
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(&format!("phi3.{key}")) else { return Ok(None) };
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => bail!(BadConfig, "phi3.{key} is not a whole number"),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        match self.get(&format!("phi3.{key}")) {
            None => Ok(None),
            Some(Value::F32(n)) => Ok(Some(*n)),
            Some(Value::F64(n)) => Ok(Some(*n as f32)),
            Some(_) => bail!(BadConfig, "phi3.{key} is not a number"),
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
