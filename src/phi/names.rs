//! The only tensor names: what a tensor is for, what checkpoints call it, what GGUF calls it.

use crate::phi::config::{Activation, Config, Family};

/// What a tensor is for, with its layer where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    TokenEmbedding,
    OutputNorm,
    OutputNormBias,
    Output,
    OutputBias,
    AttentionNorm(usize),
    AttentionNormBias(usize),
    /// Rows: queries, keys, values, one after another.
    Qkv(usize),
    /// The same three as separate tensors: part 0, 1, 2 of [`Role::Qkv`].
    QkvPart(usize, usize),
    QkvBias(usize),
    /// Part 0, 1, 2 of [`Role::QkvBias`].
    QkvBiasPart(usize, usize),
    AttentionOutput(usize),
    AttentionOutputBias(usize),
    FfnNorm(usize),
    FfnNormBias(usize),
    /// The first matrix of the feed-forward layer. Rows: gate, then up, where its activation has a gate.
    FfnUp(usize),
    /// Part 0 (gate) or 1 (up) of [`Role::FfnUp`].
    FfnUpPart(usize, usize),
    FfnUpBias(usize),
    FfnDown(usize),
    FfnDownBias(usize),
    /// The scores of the experts.
    Router(usize),
    /// Part 0 (gate), 1 (up) or 2 (down) of all experts, one after another.
    Experts(usize, usize),
    /// The same part of one expert, the last number.
    Expert(usize, usize, usize),
    RopeFactorsLong,
    RopeFactorsShort,
}

/// Families whose checkpoints have a tensor by that name; the other families' readers know it too. Older files have names
/// that nobody writes any more.
type Families = &'static [Family];
const EVERY: Families = &[Family::Phi2, Family::Phi3, Family::PhiMoe];
const PHI2: Families = &[Family::Phi2];
const PHI3: Families = &[Family::Phi3];
const MOE: Families = &[Family::PhiMoe];
const LATER: Families = &[Family::Phi3, Family::PhiMoe];
const OLD: Families = &[];

/// One line per name: the families that use it, the name in a Hugging Face checkpoint, the name in a GGUF file (where the
/// format has the tensor), and the role for a layer and an expert, whose numbers `{}` stands for.
type Line = (Families, Option<&'static str>, Option<&'static str>, fn(usize, usize) -> Role);

#[rustfmt::skip] // one line each
static TABLE: &[Line] = &[
    (EVERY, Some("model.embed_tokens.weight"), Some("token_embd.weight"), |_, _| Role::TokenEmbedding),
    (LATER, Some("model.norm.weight"), Some("output_norm.weight"), |_, _| Role::OutputNorm),
    (LATER, Some("model.norm.bias"), Some("output_norm.bias"), |_, _| Role::OutputNormBias),
    (PHI2, Some("model.final_layernorm.weight"), Some("output_norm.weight"), |_, _| Role::OutputNorm),
    (PHI2, Some("model.final_layernorm.bias"), Some("output_norm.bias"), |_, _| Role::OutputNormBias),
    (EVERY, Some("lm_head.weight"), Some("output.weight"), |_, _| Role::Output),
    (EVERY, Some("lm_head.bias"), Some("output.bias"), |_, _| Role::OutputBias),
    (EVERY, None, Some("rope_factors_long.weight"), |_, _| Role::RopeFactorsLong),
    (EVERY, None, Some("rope_factors_short.weight"), |_, _| Role::RopeFactorsShort),
    (EVERY, Some("model.layers.{}.input_layernorm.weight"), Some("blk.{}.attn_norm.weight"), |n, _| Role::AttentionNorm(n)),
    (EVERY, Some("model.layers.{}.input_layernorm.bias"), Some("blk.{}.attn_norm.bias"), |n, _| Role::AttentionNormBias(n)),
    (PHI3, Some("model.layers.{}.self_attn.qkv_proj.weight"), Some("blk.{}.attn_qkv.weight"), |n, _| Role::Qkv(n)),
    (PHI3, Some("model.layers.{}.self_attn.qkv_proj.bias"), Some("blk.{}.attn_qkv.bias"), |n, _| Role::QkvBias(n)),
    (EVERY, Some("model.layers.{}.self_attn.q_proj.weight"), Some("blk.{}.attn_q.weight"), |n, _| Role::QkvPart(n, 0)),
    (EVERY, Some("model.layers.{}.self_attn.k_proj.weight"), Some("blk.{}.attn_k.weight"), |n, _| Role::QkvPart(n, 1)),
    (EVERY, Some("model.layers.{}.self_attn.v_proj.weight"), Some("blk.{}.attn_v.weight"), |n, _| Role::QkvPart(n, 2)),
    (EVERY, Some("model.layers.{}.self_attn.q_proj.bias"), Some("blk.{}.attn_q.bias"), |n, _| Role::QkvBiasPart(n, 0)),
    (EVERY, Some("model.layers.{}.self_attn.k_proj.bias"), Some("blk.{}.attn_k.bias"), |n, _| Role::QkvBiasPart(n, 1)),
    (EVERY, Some("model.layers.{}.self_attn.v_proj.bias"), Some("blk.{}.attn_v.bias"), |n, _| Role::QkvBiasPart(n, 2)),
    (LATER, Some("model.layers.{}.self_attn.o_proj.weight"), Some("blk.{}.attn_output.weight"), |n, _| Role::AttentionOutput(n)),
    (LATER, Some("model.layers.{}.self_attn.o_proj.bias"), Some("blk.{}.attn_output.bias"), |n, _| Role::AttentionOutputBias(n)),
    (PHI2, Some("model.layers.{}.self_attn.dense.weight"), Some("blk.{}.attn_output.weight"), |n, _| Role::AttentionOutput(n)),
    (PHI2, Some("model.layers.{}.self_attn.dense.bias"), Some("blk.{}.attn_output.bias"), |n, _| Role::AttentionOutputBias(n)),
    (LATER, Some("model.layers.{}.post_attention_layernorm.weight"), Some("blk.{}.ffn_norm.weight"), |n, _| Role::FfnNorm(n)),
    (LATER, Some("model.layers.{}.post_attention_layernorm.bias"), Some("blk.{}.ffn_norm.bias"), |n, _| Role::FfnNormBias(n)),
    // GGUF's phi3 keeps gate and up fused and calls them ffn_up; it has no ffn_gate.
    (PHI3, Some("model.layers.{}.mlp.gate_up_proj.weight"), Some("blk.{}.ffn_up.weight"), |n, _| Role::FfnUp(n)),
    (PHI3, Some("model.layers.{}.mlp.gate_proj.weight"), None, |n, _| Role::FfnUpPart(n, 0)),
    (PHI3, Some("model.layers.{}.mlp.up_proj.weight"), None, |n, _| Role::FfnUpPart(n, 1)),
    (PHI3, Some("model.layers.{}.mlp.down_proj.weight"), Some("blk.{}.ffn_down.weight"), |n, _| Role::FfnDown(n)),
    (PHI2, Some("model.layers.{}.mlp.fc1.weight"), Some("blk.{}.ffn_up.weight"), |n, _| Role::FfnUp(n)),
    (PHI2, Some("model.layers.{}.mlp.fc1.bias"), Some("blk.{}.ffn_up.bias"), |n, _| Role::FfnUpBias(n)),
    (PHI2, Some("model.layers.{}.mlp.fc2.weight"), Some("blk.{}.ffn_down.weight"), |n, _| Role::FfnDown(n)),
    (PHI2, Some("model.layers.{}.mlp.fc2.bias"), Some("blk.{}.ffn_down.bias"), |n, _| Role::FfnDownBias(n)),
    (MOE, Some("model.layers.{}.block_sparse_moe.gate.weight"), Some("blk.{}.ffn_gate_inp.weight"), |n, _| Role::Router(n)),
    (MOE, Some("model.layers.{}.block_sparse_moe.experts.{}.w1.weight"), None, |n, e| Role::Expert(n, 0, e)),
    (MOE, Some("model.layers.{}.block_sparse_moe.experts.{}.w3.weight"), None, |n, e| Role::Expert(n, 1, e)),
    (MOE, Some("model.layers.{}.block_sparse_moe.experts.{}.w2.weight"), None, |n, e| Role::Expert(n, 2, e)),
    (MOE, None, Some("blk.{}.ffn_gate_exps.weight"), |n, _| Role::Experts(n, 0)),
    (MOE, None, Some("blk.{}.ffn_up_exps.weight"), |n, _| Role::Experts(n, 1)),
    (MOE, None, Some("blk.{}.ffn_down_exps.weight"), |n, _| Role::Experts(n, 2)),
    // The first files of Phi-1.5 and Phi-2.
    (OLD, Some("transformer.embd.wte.weight"), Some("token_embd.weight"), |_, _| Role::TokenEmbedding),
    (OLD, Some("lm_head.ln.weight"), Some("output_norm.weight"), |_, _| Role::OutputNorm),
    (OLD, Some("lm_head.ln.bias"), Some("output_norm.bias"), |_, _| Role::OutputNormBias),
    (OLD, Some("lm_head.linear.weight"), Some("output.weight"), |_, _| Role::Output),
    (OLD, Some("lm_head.linear.bias"), Some("output.bias"), |_, _| Role::OutputBias),
    (OLD, Some("transformer.h.{}.ln.weight"), Some("blk.{}.attn_norm.weight"), |n, _| Role::AttentionNorm(n)),
    (OLD, Some("transformer.h.{}.ln.bias"), Some("blk.{}.attn_norm.bias"), |n, _| Role::AttentionNormBias(n)),
    (OLD, Some("transformer.h.{}.mixer.Wqkv.weight"), Some("blk.{}.attn_qkv.weight"), |n, _| Role::Qkv(n)),
    (OLD, Some("transformer.h.{}.mixer.Wqkv.bias"), Some("blk.{}.attn_qkv.bias"), |n, _| Role::QkvBias(n)),
    (OLD, Some("transformer.h.{}.mixer.out_proj.weight"), Some("blk.{}.attn_output.weight"), |n, _| Role::AttentionOutput(n)),
    (OLD, Some("transformer.h.{}.mixer.out_proj.bias"), Some("blk.{}.attn_output.bias"), |n, _| Role::AttentionOutputBias(n)),
    (OLD, Some("transformer.h.{}.mlp.fc1.weight"), Some("blk.{}.ffn_up.weight"), |n, _| Role::FfnUp(n)),
    (OLD, Some("transformer.h.{}.mlp.fc1.bias"), Some("blk.{}.ffn_up.bias"), |n, _| Role::FfnUpBias(n)),
    (OLD, Some("transformer.h.{}.mlp.fc2.weight"), Some("blk.{}.ffn_down.weight"), |n, _| Role::FfnDown(n)),
    (OLD, Some("transformer.h.{}.mlp.fc2.bias"), Some("blk.{}.ffn_down.bias"), |n, _| Role::FfnDownBias(n)),
];

/// Tensors that some checkpoints carry and that follow from the configuration: left out without a word, as
/// convert_hf_to_gguf.py does.
const DERIVED: &[&str] = &[".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias"];

/// Whether a checkpoint's tensor follows from the configuration and may be ignored.
pub fn is_derived(name: &str) -> bool {
    DERIVED.iter().any(|suffix| name.ends_with(suffix))
}

/// The numbers of layer and expert if `name` follows `pattern`, 0 where it has none. Numbers are spelled the one canonical
/// way, so that two names never mean one tensor.
fn matches(pattern: &str, name: &str) -> Option<[usize; 2]> {
    let mut pieces = pattern.split("{}");
    let mut rest = name.strip_prefix(pieces.next()?)?;
    let mut numbers = [0; 2];
    for (number, piece) in numbers.iter_mut().zip(pieces) {
        let end = rest.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        let digits = &rest[..end];
        if digits.starts_with('0') && digits != "0" {
            return None;
        }
        *number = digits.parse().ok()?;
        rest = rest[end..].strip_prefix(piece)?;
    }
    rest.is_empty().then_some(numbers)
}

impl Role {
    /// The role of a tensor in a Hugging Face checkpoint.
    pub fn from_hf(name: &str) -> Option<Role> {
        TABLE.iter().find_map(|(_, hf, _, role)| matches((*hf)?, name).map(|[n, e]| role(n, e)))
    }

    /// The role of a tensor in a GGUF file.
    pub fn from_gguf(name: &str) -> Option<Role> {
        TABLE.iter().find_map(|(_, _, gguf, role)| matches((*gguf)?, name).map(|[n, e]| role(n, e)))
    }

    /// The name in a Hugging Face checkpoint of that family; `None` for what config.json holds there, and for what its
    /// files have in parts.
    pub fn hf_name(self, family: Family) -> Option<String> {
        let line = self.lines().find(|(families, hf, ..)| families.contains(&family) && hf.is_some())?;
        line.1.map(|pattern| self.fill(pattern))
    }

    /// The name in a GGUF file; `None` for what the format has no tensor for.
    pub fn gguf_name(self) -> Option<String> {
        self.lines().find_map(|line| line.2).map(|pattern| self.fill(pattern))
    }

    fn lines(self) -> impl Iterator<Item = &'static Line> {
        let [layer, expert] = self.numbers();
        TABLE.iter().filter(move |line| line.3(layer, expert) == self)
    }

    fn numbers(self) -> [usize; 2] {
        let expert = if let Role::Expert(_, _, expert) = self { expert } else { 0 };
        [self.layer().unwrap_or(0), expert]
    }

    fn fill(self, pattern: &str) -> String {
        let [layer, expert] = self.numbers().map(|n| n.to_string());
        pattern.replacen("{}", &layer, 1).replacen("{}", &expert, 1)
    }

    pub const fn layer(self) -> Option<usize> {
        match self {
            Role::TokenEmbedding
            | Role::OutputNorm
            | Role::OutputNormBias
            | Role::Output
            | Role::OutputBias
            | Role::RopeFactorsLong
            | Role::RopeFactorsShort => None,
            Role::AttentionNorm(n)
            | Role::AttentionNormBias(n)
            | Role::Qkv(n)
            | Role::QkvPart(n, _)
            | Role::QkvBias(n)
            | Role::QkvBiasPart(n, _)
            | Role::AttentionOutput(n)
            | Role::AttentionOutputBias(n)
            | Role::FfnNorm(n)
            | Role::FfnNormBias(n)
            | Role::FfnUp(n)
            | Role::FfnUpPart(n, _)
            | Role::FfnUpBias(n)
            | Role::FfnDown(n)
            | Role::FfnDownBias(n)
            | Role::Router(n)
            | Role::Experts(n, _)
            | Role::Expert(n, ..) => Some(n),
        }
    }

    /// The tensors that may stand for this one in a checkpoint, in the order of their rows (or elements).
    pub fn parts(self, config: &Config) -> Vec<Role> {
        match self {
            Role::Qkv(n) => (0..3).map(|part| Role::QkvPart(n, part)).collect(),
            Role::QkvBias(n) => (0..3).map(|part| Role::QkvBiasPart(n, part)).collect(),
            Role::FfnUp(n) if config.activation == Activation::SwiGlu => {
                (0..2).map(|part| Role::FfnUpPart(n, part)).collect()
            }
            Role::Experts(n, part) => {
                let count = config.experts.map_or(0, |experts| experts.count);
                (0..count).map(|expert| Role::Expert(n, part, expert)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The rows (of a vector: elements) of the fused tensor that precede this part of it; 0 for a whole one.
    pub fn offset(self, config: &Config) -> u64 {
        let before = match self {
            Role::QkvPart(_, part) | Role::QkvBiasPart(_, part) => {
                [0, config.heads, config.heads + config.kv_heads][part] * config.head_dim
            }
            Role::FfnUpPart(_, part) => part * config.ffn,
            Role::Expert(_, part, expert) => expert * if part == 2 { config.hidden } else { config.ffn },
            _ => 0,
        };
        before as u64
    }

    /// The shape that the configuration implies, row-major.
    pub fn shape(self, config: &Config) -> Vec<u64> {
        let (hidden, ffn) = (config.hidden, config.ffn);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let up = if config.activation == Activation::SwiGlu { 2 * ffn } else { ffn };
        let experts = config.experts.map_or(0, |experts| experts.count);
        let shape: &[usize] = match self {
            Role::TokenEmbedding | Role::Output => &[config.vocab, hidden],
            Role::OutputBias => &[config.vocab],
            Role::OutputNorm | Role::AttentionNorm(_) | Role::FfnNorm(_) => &[hidden],
            Role::OutputNormBias | Role::AttentionNormBias(_) | Role::FfnNormBias(_) => &[hidden],
            Role::Qkv(_) => &[q + 2 * kv, hidden],
            Role::QkvPart(_, 0) => &[q, hidden],
            Role::QkvPart(..) => &[kv, hidden],
            Role::QkvBias(_) => &[q + 2 * kv],
            Role::QkvBiasPart(_, 0) => &[q],
            Role::QkvBiasPart(..) => &[kv],
            Role::AttentionOutput(_) => &[hidden, q],
            Role::AttentionOutputBias(_) | Role::FfnDownBias(_) => &[hidden],
            Role::FfnUp(_) => &[up, hidden],
            Role::FfnUpPart(..) => &[ffn, hidden],
            Role::FfnUpBias(_) => &[up],
            Role::FfnDown(_) => &[hidden, ffn],
            Role::Router(_) => &[experts, hidden],
            Role::Experts(_, 2) => &[experts, hidden, ffn],
            Role::Experts(..) => &[experts, ffn, hidden],
            Role::Expert(_, 2, _) => &[hidden, ffn],
            Role::Expert(..) => &[ffn, hidden],
            Role::RopeFactorsLong | Role::RopeFactorsShort => &[config.rope.dim / 2],
        };
        shape.iter().map(|&n| n as u64).collect()
    }

    /// Whether this is a matrix, which schemes quantize; norms, biases and factors stay F32.
    pub const fn is_matrix(self) -> bool {
        matches!(
            self,
            Role::TokenEmbedding
                | Role::Output
                | Role::Qkv(_)
                | Role::QkvPart(..)
                | Role::AttentionOutput(_)
                | Role::FfnUp(_)
                | Role::FfnUpPart(..)
                | Role::FfnDown(_)
                | Role::Router(_)
                | Role::Experts(..)
                | Role::Expert(..)
        )
    }

    /// Every tensor that a model of this configuration has, fused where the forward pass has it so, in the order of that
    /// pass.
    pub fn all(config: &Config) -> Vec<Role> {
        let biases = config.biases;
        let mut roles = vec![Role::TokenEmbedding];
        for n in 0..config.layers {
            let mut add = |there: bool, role: fn(usize) -> Role| roles.extend(there.then(|| role(n)));
            add(true, Role::AttentionNorm);
            add(biases.norm, Role::AttentionNormBias);
            add(true, Role::Qkv);
            add(biases.attention, Role::QkvBias);
            add(true, Role::AttentionOutput);
            add(biases.attention, Role::AttentionOutputBias);
            add(!config.parallel, Role::FfnNorm);
            add(!config.parallel && biases.norm, Role::FfnNormBias);
            let experts = config.experts.is_some();
            add(experts, Role::Router);
            add(experts, |n| Role::Experts(n, 0));
            add(experts, |n| Role::Experts(n, 1));
            add(experts, |n| Role::Experts(n, 2));
            add(!experts, Role::FfnUp);
            add(!experts && biases.ffn, Role::FfnUpBias);
            add(!experts, Role::FfnDown);
            add(!experts && biases.ffn, Role::FfnDownBias);
        }
        roles.push(Role::OutputNorm);
        roles.extend(biases.norm.then_some(Role::OutputNormBias));
        roles.extend((!config.tied).then_some(Role::Output));
        roles.extend(biases.output.then_some(Role::OutputBias));
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_roles_are_inverse() {
        for (index, (families, hf, gguf, role)) in TABLE.iter().enumerate() {
            for numbers in [[0, 0], [7, 3], [31, 15]] {
                let role = role(numbers[0], numbers[1]);
                let fill = |pattern: &str| {
                    numbers.iter().fold(pattern.to_owned(), |text, n| text.replacen("{}", &n.to_string(), 1))
                };
                if let Some(name) = hf.map(fill) {
                    assert_eq!(Role::from_hf(&name), Some(role), "line {index}");
                    for family in *families {
                        assert_eq!(role.hf_name(*family).as_ref(), Some(&name));
                    }
                }
                if let Some(name) = gguf.map(fill) {
                    assert_eq!(Role::from_gguf(&name), Some(role), "line {index}");
                    assert_eq!(role.gguf_name(), Some(name));
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
        assert_eq!(Role::from_hf("model.layers.0.self_attn.qkv_proj.scale"), None);
        assert_eq!(Role::from_hf("model.layers.0.block_sparse_moe.experts.w1.weight"), None);
        assert!(is_derived("model.layers.0.self_attn.rotary_emb.inv_freq"));
    }
}
