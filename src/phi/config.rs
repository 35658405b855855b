//! Every difference between the Phis is a field here; config.json and GGUF metadata are two spellings of it.

use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::Metadata;

/// What the forward pass, the writers and the estimates need of a model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `Phi3ForCausalLM`.
    pub architecture: String,
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer (half of gate_up's rows).
    pub ffn: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub norm_eps: f32,
    /// The output matrix is the token embedding.
    pub tied: bool,
    /// Attend to at most this many latest tokens, the present one included.
    pub sliding_window: Option<usize>,
    /// Tokens that the model was made for.
    pub context: usize,
    /// Tokens before LongRoPE's switch; equals `context` where there is none.
    pub original_context: usize,
    pub rope: Rope,
    pub bos: Option<u32>,
    /// The ids that end an answer: config.json's and generation_config.json's.
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    pub theta: f32,
    /// Leading elements of each head that rotate: `head_dim · partial_rotary_factor`.
    pub dim: usize,
    pub long: Option<LongRope>,
}

/// LongRoPE (Phi-3 128k, Phi-3.5, Phi-4-mini): a factor per rotated pair, and a scale on cos and sin.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// `dim / 2` factors for total lengths up to the original context …
    pub short: Vec<f32>,
    /// … and beyond it.
    pub long: Vec<f32>,
    /// sqrt(1 + ln(context/original) / ln(original)), unless the configuration names another.
    pub attention_factor: f32,
}

impl Config {
    /// Reads config.json (both the Hub's rope_scaling spelling and transformers 5's rope_parameters) and, for the end
    /// tokens, generation_config.json.
    pub fn from_json(_config: &str, _generation_config: Option<&str>) -> Result<Config> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    pub fn from_gguf(_metadata: &Metadata) -> Result<Config> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }
}
