//! From logits to a token.

/// How to choose the next token. The defaults are greedy.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sampling {
    /// 0: greedy.
    pub temperature: f32,
    /// Keep the k likeliest; 0: all.
    pub top_k: usize,
    /// Keep the likeliest until their probabilities sum to p; 1: all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest; 0: all.
    pub min_p: f32,
    /// Divide positive and multiply negative logits of tokens already seen; 1: off.
    pub repeat_penalty: f32,
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: 0 }
    }
}
