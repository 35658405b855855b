//! Every difference between the Phis is a field here; config.json and GGUF metadata are two spellings of it.

pub mod gguf;
mod json;

pub use crate::engine::{Norm, Routing};

use crate::bail;
use crate::error::Result;

/// What the forward pass, the writers and the estimates need of a model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `Phi3ForCausalLM`.
    pub architecture: String,
    /// Whose names and keys the checkpoint has; what it computes is in the other fields.
    pub family: Family,
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer (half of gate_up's rows), or of one expert.
    pub ffn: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub norm: Norm,
    pub norm_eps: f32,
    /// Attention and the feed-forward layer read the same norm and are added to the stream together.
    pub parallel: bool,
    pub activation: Activation,
    /// What has a bias besides its weights.
    pub biases: Biases,
    /// A mixture of experts in place of the feed-forward layer.
    pub experts: Option<Experts>,
    /// The output matrix is the token embedding.
    pub tied: bool,
    /// Attend to at most this many latest tokens, the present one included.
    pub sliding_window: Option<usize>,
    /// Tokens that the model was made for.
    pub context: usize,
    /// Tokens before LongRoPE's switch, and the length of the model's first training; only LongRoPE goes by it.
    pub original_context: usize,
    pub rope: Rope,
    pub bos: Option<u32>,
    /// The ids that end an answer: config.json's and generation_config.json's; for a GGUF its eos, eot and eom, and the
    /// tokens that llama.cpp takes for an end by their text.
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

/// Architectures that share names of tensors and keys, as llama.cpp groups them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Phi-1, Phi-1.5, Phi-2.
    Phi2,
    /// Phi-3, Phi-3.5, Phi-4.
    Phi3,
    /// Phi-3.5-MoE, Phi-mini-MoE, Phi-tiny-MoE.
    PhiMoe,
}

/// What stands between the matrices of the feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// silu(gate) · up, of a first matrix that makes both.
    SwiGlu,
    /// GELU by its formula with tanh (transformers' `gelu_new`).
    Gelu,
}

/// What has a bias besides its weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Biases {
    pub norm: bool,
    /// Queries, keys, values, and attention's output.
    pub attention: bool,
    pub ffn: bool,
    /// The logits.
    pub output: bool,
}

/// A mixture of experts: `used` of `count` feed-forward layers take part for each token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    pub count: usize,
    pub used: usize,
    pub routing: Routing,
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
    ///
    /// Both lists are empty for a GGUF, which keeps them as the tensors [`crate::phi::names::Role::RopeFactorsShort`]
    /// and [`crate::phi::names::Role::RopeFactorsLong`]: whoever loads the weights fills them in.
    pub short: Vec<f32>,
    /// … and beyond it.
    pub long: Vec<f32>,
    /// sqrt(1 + ln(context/original) / ln(original)), unless the configuration names another.
    pub attention_factor: f32,
    /// What Phi-3.5-MoE has in place of it, for short and for long lengths; GGUF has no key for it.
    pub mscale: Option<[f32; 2]>,
}

/// Architectures that run: as config.json names them, its model_type, as GGUF names them.
const ARCHITECTURES: &[(&str, &str, &str, Family)] = &[
    ("Phi3ForCausalLM", "phi3", "phi3", Family::Phi3),
    ("PhiForCausalLM", "phi", "phi2", Family::Phi2),
    ("PhiForCausalLM", "phi-msft", "phi2", Family::Phi2),
    ("PhiMoEForCausalLM", "phimoe", "phimoe", Family::PhiMoe),
    ("PhimoeForCausalLM", "phimoe", "phimoe", Family::PhiMoe),
];

const SUPPORTED: &str = "supported are Phi-1, Phi-1.5 and Phi-2 (PhiForCausalLM), Phi-3 mini and medium, Phi-3.5-mini, Phi-4 and Phi-4-mini (Phi3ForCausalLM), Phi-3.5-MoE and its smaller kin (PhiMoEForCausalLM), and what is fine-tuned from them";

/// Architectures of other Phis, and what to tell a person who brings one.
const VARIANTS: &[(&str, &str)] = &[
    ("MixFormerSequentialForCausalLM", "the first release of Phi-1 and Phi-1.5; their repositories have newer files"),
    ("Phi3SmallForCausalLM", "Phi-3-small (block-sparse attention)"),
    ("Phi3VForCausalLM", "Phi-3-vision and Phi-3.5-vision (images)"),
    ("Phi4MMForCausalLM", "Phi-4-multimodal (images and speech)"),
    ("Phi4MultimodalForCausalLM", "Phi-4-multimodal (images and speech)"),
    ("Phi4FlashForCausalLM", "Phi-4-mini-flash (state space layers)"),
    ("Phi4ForCausalLMV", "Phi-4-vision (images)"),
];

impl Family {
    /// GGUF's `general.architecture`, and the prefix of its keys.
    pub fn gguf(self) -> &'static str {
        ARCHITECTURES.iter().find(|line| line.3 == self).map_or("", |line| line.2)
    }

    /// The architecture that config.json would name.
    pub fn architecture(self) -> &'static str {
        ARCHITECTURES.iter().find(|line| line.3 == self).map_or("", |line| line.0)
    }

    /// config.json's `model_type`.
    pub fn model_type(self) -> &'static str {
        ARCHITECTURES.iter().find(|line| line.3 == self).map_or("", |line| line.1)
    }

    /// The family of an architecture by config.json's or GGUF's name; `Unsupported` for other Phis, `NotAPhi`.
    fn named(name: &str) -> Result<Family> {
        if let Some((.., family)) = ARCHITECTURES.iter().find(|(hf, _, gguf, _)| *hf == name || *gguf == name) {
            return Ok(*family);
        }
        if let Some((_, what)) = VARIANTS.iter().find(|(variant, _)| *variant == name) {
            bail!(Unsupported, "{name} is {what}, which phiquant cannot run yet; {SUPPORTED}");
        }
        if name.to_ascii_lowercase().starts_with("phi") {
            bail!(Unsupported, "{name} is a Phi that phiquant does not know; {SUPPORTED}");
        }
        bail!(NotAPhi, "this checkpoint is a {name}, not a Phi; {SUPPORTED}")
    }

    pub(super) const fn norm(self) -> Norm {
        match self {
            Family::Phi3 => Norm::Rms,
            Family::Phi2 | Family::PhiMoe => Norm::Layer,
        }
    }

    pub(super) const fn activation(self) -> Activation {
        match self {
            Family::Phi2 => Activation::Gelu,
            Family::Phi3 | Family::PhiMoe => Activation::SwiGlu,
        }
    }
}

/// Sizes beyond these are a damaged file, not a model: they keep every later product within 64 bits.
const MAX_WIDTH: usize = 1 << 20;
const MAX_VOCAB: usize = 1 << 20;
const MAX_LAYERS: usize = 4096;
const MAX_EXPERTS: usize = 1024;

impl Config {
    /// Relations among the fields that the forward pass takes for granted.
    fn check(self) -> Result<Config> {
        let sizes = [
            ("vocab_size", self.vocab, MAX_VOCAB),
            ("hidden_size", self.hidden, MAX_WIDTH),
            ("intermediate_size", self.ffn, MAX_WIDTH),
            ("num_hidden_layers", self.layers, MAX_LAYERS),
            ("num_attention_heads", self.heads, MAX_WIDTH),
            ("num_key_value_heads", self.kv_heads, MAX_WIDTH),
            ("head_dim", self.head_dim, MAX_WIDTH),
            ("max_position_embeddings", self.context, u32::MAX as usize),
            ("original_max_position_embeddings", self.original_context, u32::MAX as usize),
        ];
        for (field, value, most) in sizes {
            if value == 0 || value > most {
                bail!(BadConfig, "{field} is {value}; it must be between 1 and {most}");
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let (heads, kv_heads) = (self.heads, self.kv_heads);
            bail!(BadConfig, "num_key_value_heads ({kv_heads}) does not divide num_attention_heads ({heads})");
        }
        if self.heads.saturating_mul(self.head_dim) > MAX_WIDTH {
            bail!(BadConfig, "num_attention_heads ({}) · head_dim ({}) is too large", self.heads, self.head_dim);
        }
        if !self.norm_eps.is_finite() || self.norm_eps < 0.0 {
            bail!(BadConfig, "rms_norm_eps or layer_norm_eps is {}; it must be a small positive number", self.norm_eps);
        }
        let rope = &self.rope;
        if rope.dim == 0 || rope.dim > self.head_dim || !rope.dim.is_multiple_of(2) {
            bail!(
                BadConfig,
                "partial_rotary_factor makes {} of {} elements of a head rotate; it must be an even number of them",
                rope.dim,
                self.head_dim
            );
        }
        if !rope.theta.is_finite() || rope.theta <= 0.0 {
            bail!(BadConfig, "rope_theta is {}; it must be positive", rope.theta);
        }
        if let Some(long) = &rope.long {
            for factor in long.mscale.iter().flatten().chain([&long.attention_factor]) {
                if !factor.is_finite() || *factor <= 0.0 {
                    bail!(BadConfig, "LongRoPE's attention factor is {factor}; it must be positive");
                }
            }
            for (field, factors) in [("short_factor", &long.short), ("long_factor", &long.long)] {
                if factors.iter().any(|f| !f.is_finite() || *f <= 0.0) {
                    bail!(BadConfig, "LongRoPE's {field} has a number that is not positive");
                }
            }
        }
        if let Some(experts) = &self.experts {
            let Experts { count, used, routing } = *experts;
            if count == 0 || count > MAX_EXPERTS || used == 0 || used > count {
                bail!(
                    BadConfig,
                    "num_experts_per_tok is {used} and num_local_experts {count}: it takes 1 to {MAX_EXPERTS}"
                );
            }
            if let Routing::SparseMixer { jitter } = routing {
                if used != 2 {
                    bail!(Unsupported, "num_experts_per_tok is {used}; SparseMixer chooses two");
                }
                if !jitter.is_finite() || jitter < 0.0 {
                    bail!(BadConfig, "router_jitter_noise is {jitter}; it must be a small positive number");
                }
            }
        }
        if self.sliding_window == Some(0) {
            bail!(BadConfig, "sliding_window is 0; write null for attention to all tokens");
        }
        for id in self.eos.iter().chain(&self.bos).chain(&self.pad) {
            // Phi-3's own files keep ids below the vocabulary's padded size; beyond it nothing could ever produce them.
            if *id as usize >= MAX_VOCAB {
                bail!(BadConfig, "{id} is no token id");
            }
        }
        Ok(self)
    }
}
