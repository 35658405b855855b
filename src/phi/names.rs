//! The only tensor names: what a tensor is for, what checkpoints call it, what GGUF calls it.

use crate::phi::config::Config;

/// What a tensor is for, with its layer where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    TokenEmbedding,
    OutputNorm,
    Output,
    AttentionNorm(usize),
    /// Rows: queries, keys, values, one after another.
    Qkv(usize),
    /// The same three as separate tensors: part 0, 1, 2 of [`Role::Qkv`].
    QkvPart(usize, usize),
    AttentionOutput(usize),
    FfnNorm(usize),
    /// Rows: gate, then up.
    GateUp(usize),
    /// Part 0 (gate) or 1 (up) of [`Role::GateUp`].
    GateUpPart(usize, usize),
    FfnDown(usize),
    RopeFactorsLong,
    RopeFactorsShort,
}

/// One line per kind of tensor: the name in a Hugging Face checkpoint, the name in a GGUF file (where the format has the
/// tensor), and the role for a layer. `{}` stands for the layer's number.
type Line = (Option<&'static str>, Option<&'static str>, fn(usize) -> Role);

static TABLE: &[Line] = &[
    (Some("model.embed_tokens.weight"), Some("token_embd.weight"), |_| Role::TokenEmbedding),
    (Some("model.norm.weight"), Some("output_norm.weight"), |_| Role::OutputNorm),
    (Some("lm_head.weight"), Some("output.weight"), |_| Role::Output),
    (None, Some("rope_factors_long.weight"), |_| Role::RopeFactorsLong),
    (None, Some("rope_factors_short.weight"), |_| Role::RopeFactorsShort),
    (Some("model.layers.{}.input_layernorm.weight"), Some("blk.{}.attn_norm.weight"), Role::AttentionNorm),
    (Some("model.layers.{}.self_attn.qkv_proj.weight"), Some("blk.{}.attn_qkv.weight"), Role::Qkv),
    (Some("model.layers.{}.self_attn.q_proj.weight"), Some("blk.{}.attn_q.weight"), |n| Role::QkvPart(n, 0)),
    (Some("model.layers.{}.self_attn.k_proj.weight"), Some("blk.{}.attn_k.weight"), |n| Role::QkvPart(n, 1)),
    (Some("model.layers.{}.self_attn.v_proj.weight"), Some("blk.{}.attn_v.weight"), |n| Role::QkvPart(n, 2)),
    (Some("model.layers.{}.self_attn.o_proj.weight"), Some("blk.{}.attn_output.weight"), Role::AttentionOutput),
    (Some("model.layers.{}.post_attention_layernorm.weight"), Some("blk.{}.ffn_norm.weight"), Role::FfnNorm),
    // GGUF's phi3 keeps gate and up fused and calls them ffn_up; it has no ffn_gate.
    (Some("model.layers.{}.mlp.gate_up_proj.weight"), Some("blk.{}.ffn_up.weight"), Role::GateUp),
    (Some("model.layers.{}.mlp.gate_proj.weight"), None, |n| Role::GateUpPart(n, 0)),
    (Some("model.layers.{}.mlp.up_proj.weight"), None, |n| Role::GateUpPart(n, 1)),
    (Some("model.layers.{}.mlp.down_proj.weight"), Some("blk.{}.ffn_down.weight"), Role::FfnDown),
];

/// Tensors that some checkpoints carry and that follow from the configuration: left out without a word, as
/// convert_hf_to_gguf.py does.
const DERIVED: &[&str] = &[".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias"];

/// Whether a checkpoint's tensor follows from the configuration and may be ignored.
pub fn is_derived(name: &str) -> bool {
    DERIVED.iter().any(|suffix| name.ends_with(suffix))
}

/// The layer's number if `name` follows `pattern`; `Some(0)` for a pattern without a layer. Numbers are spelled the one
/// canonical way, so that two names never mean one tensor.
fn matches(pattern: &str, name: &str) -> Option<usize> {
    let Some((before, after)) = pattern.split_once("{}") else {
        return (pattern == name).then_some(0);
    };
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

impl Role {
    /// The role of a tensor in a Hugging Face checkpoint.
    pub fn from_hf(name: &str) -> Option<Role> {
        TABLE.iter().find_map(|(hf, _, role)| matches((*hf)?, name).map(role))
    }

    /// The role of a tensor in a GGUF file.
    pub fn from_gguf(name: &str) -> Option<Role> {
        TABLE.iter().find_map(|(_, gguf, role)| matches((*gguf)?, name).map(role))
    }

    /// The name in a Hugging Face checkpoint; `None` for what config.json holds there.
    pub fn hf_name(self) -> Option<String> {
        self.line().0.map(|pattern| self.fill(pattern))
    }

    /// The name in a GGUF file; `None` for what GGUF's phi3 has no tensor for.
    pub fn gguf_name(self) -> Option<String> {
        self.line().1.map(|pattern| self.fill(pattern))
    }

    fn line(self) -> &'static Line {
        let layer = self.layer().unwrap_or(0);
        TABLE.iter().find(|line| line.2(layer) == self).expect("every role has a line in the table")
    }

    fn fill(self, pattern: &str) -> String {
        pattern.replace("{}", &self.layer().unwrap_or(0).to_string())
    }

    pub const fn layer(self) -> Option<usize> {
        match self {
            Role::TokenEmbedding | Role::OutputNorm | Role::Output | Role::RopeFactorsLong | Role::RopeFactorsShort => {
                None
            }
            Role::AttentionNorm(n)
            | Role::Qkv(n)
            | Role::QkvPart(n, _)
            | Role::AttentionOutput(n)
            | Role::FfnNorm(n)
            | Role::GateUp(n)
            | Role::GateUpPart(n, _)
            | Role::FfnDown(n) => Some(n),
        }
    }

    /// The fused tensor that this one is a part of, and the rows of it that precede this part; itself otherwise.
    pub fn fused(self, config: &Config) -> (Role, u64) {
        let head = config.head_dim;
        match self {
            Role::QkvPart(n, part) => {
                let before = [0, config.heads * head, (config.heads + config.kv_heads) * head][part];
                (Role::Qkv(n), before as u64)
            }
            Role::GateUpPart(n, part) => (Role::GateUp(n), (part * config.ffn) as u64),
            whole => (whole, 0),
        }
    }

    /// The shape that the configuration implies, row-major.
    pub fn shape(self, config: &Config) -> Vec<u64> {
        let (hidden, ffn) = (config.hidden, config.ffn);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let shape: &[usize] = match self {
            Role::TokenEmbedding | Role::Output => &[config.vocab, hidden],
            Role::OutputNorm | Role::AttentionNorm(_) | Role::FfnNorm(_) => &[hidden],
            Role::Qkv(_) => &[q + 2 * kv, hidden],
            Role::QkvPart(_, 0) => &[q, hidden],
            Role::QkvPart(..) => &[kv, hidden],
            Role::AttentionOutput(_) => &[hidden, q],
            Role::GateUp(_) => &[2 * ffn, hidden],
            Role::GateUpPart(..) => &[ffn, hidden],
            Role::FfnDown(_) => &[hidden, ffn],
            Role::RopeFactorsLong | Role::RopeFactorsShort => &[config.rope.dim / 2],
        };
        shape.iter().map(|&n| n as u64).collect()
    }

    /// Whether this is a matrix, which schemes quantize; norms and factors stay F32.
    pub const fn is_matrix(self) -> bool {
        !matches!(
            self,
            Role::OutputNorm
                | Role::AttentionNorm(_)
                | Role::FfnNorm(_)
                | Role::RopeFactorsLong
                | Role::RopeFactorsShort
        )
    }

    /// Every tensor that a model of this configuration has, with fused qkv and gate_up (as GGUF and Phi-3 checkpoints
    /// spell it), in the order of the forward pass.
    pub fn all(config: &Config) -> Vec<Role> {
        let mut roles = vec![Role::TokenEmbedding];
        for n in 0..config.layers {
            roles.extend([
                Role::AttentionNorm(n),
                Role::Qkv(n),
                Role::AttentionOutput(n),
                Role::FfnNorm(n),
                Role::GateUp(n),
                Role::FfnDown(n),
            ]);
        }
        roles.push(Role::OutputNorm);
        if !config.tied {
            roles.push(Role::Output);
        }
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_roles_are_inverse() {
        for (index, (hf, gguf, role)) in TABLE.iter().enumerate() {
            for layer in [0, 7, 31] {
                let role = role(layer);
                if let Some(pattern) = hf {
                    let name = pattern.replace("{}", &layer.to_string());
                    assert_eq!(Role::from_hf(&name), Some(role), "line {index}");
                    assert_eq!(role.hf_name().as_deref(), Some(name.as_str()));
                }
                if let Some(pattern) = gguf {
                    let name = pattern.replace("{}", &layer.to_string());
                    assert_eq!(Role::from_gguf(&name), Some(role), "line {index}");
                    assert_eq!(role.gguf_name().as_deref(), Some(name.as_str()));
                }
            }
        }
    }

    #[test]
    fn odd_spellings_are_no_names() {
        for name in [
            "blk.00.attn_norm.weight",
            "blk.+1.attn_norm.weight",
            "blk..attn_norm.weight",
            "blk.99999999999999999999.attn_norm.weight",
            "token_embd.weight ",
            "blk.1.ffn_gate.weight",
        ] {
            assert_eq!(Role::from_gguf(name), None, "{name}");
        }
        assert_eq!(Role::from_hf("model.layers.0.self_attn.qkv_proj.bias"), None);
        assert!(is_derived("model.layers.0.self_attn.rotary_emb.inv_freq"));
    }
}
