//! The Phi-3 transformer, once, generic over the backend.
//!
//! ```text
//! tokens ─► embed ─► x ─┬─ norm ─ qkv ─ rope ─ attention ─ output ─(+)─┬─ norm ─ gate_up ─ swiglu ─ down ─(+)─► …
//!                       └─────────────────────────────────────────┘   └───────────────────────────────────┘
//! … ─► x ─► norm ─► output matrix ─► logits
//! ```
//!
//! As transformers 5.23 computes it (`models/phi3/modeling_phi3.py`), in f32.

use crate::engine::{Attention, Backend};
use crate::error::Result;
use crate::phi::cache::Cache;
use crate::phi::config::Config;
use crate::phi::model::Model;

/// What lives between the operations of one pass: made once, reused for every batch.
pub struct Activations<B: Backend> {
    /// Tokens that a batch has at most.
    pub batch: usize,
    /// The residual stream, `[batch, hidden]`.
    x: B::Buffer,
    /// `[batch, hidden]`.
    normed: B::Buffer,
    /// Queries, keys, values: `[batch, (heads + 2·kv_heads)·head_dim]`.
    qkv: B::Buffer,
    /// What the heads found: `[batch, heads·head_dim]`.
    attended: B::Buffer,
    /// Gates, then ups: `[batch, 2·ffn]`.
    gate_up: B::Buffer,
    /// `[batch, ffn]`.
    gated: B::Buffer,
    /// What attention or the feed-forward layer adds to the stream, `[batch, hidden]`.
    delta: B::Buffer,
    /// The stream at the one token whose logits are wanted, `[hidden]`.
    last: B::Buffer,
    /// `[vocab]`.
    logits: B::Buffer,
}

impl<B: Backend> Activations<B> {
    pub fn new(backend: &B, config: &Config, batch: usize) -> Result<Self> {
        let shape = config.attention();
        Ok(Self {
            batch,
            x: backend.buffer(batch * config.hidden)?,
            normed: backend.buffer(batch * config.hidden)?,
            qkv: backend.buffer(batch * shape.qkv())?,
            attended: backend.buffer(batch * shape.heads * shape.head_dim)?,
            gate_up: backend.buffer(batch * 2 * config.ffn)?,
            gated: backend.buffer(batch * config.ffn)?,
            delta: backend.buffer(batch * config.hidden)?,
            last: backend.buffer(config.hidden)?,
            logits: backend.buffer(config.vocab)?,
        })
    }
}

impl Config {
    /// The shape of this model's attention.
    pub fn attention(&self) -> Attention {
        Attention { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim, window: self.sliding_window }
    }
}

impl<B: Backend> Model<B> {
    /// Runs `tokens`, which follow those in the cache, through every layer: their keys and values are written behind
    /// the cache's tokens, and the residual stream stays in `a`. The cache is not told: [`Cache::append`] does that once
    /// the device has succeeded, so that a pass which fails or is dropped leaves no trace.
    ///
    /// Laws: 1 to `a.batch` tokens, each below `vocab`; the cache has room for them.
    pub fn forward(&self, cache: &mut Cache<B>, a: &mut Activations<B>, tokens: &[u32]) -> Result<()> {
        let (backend, config) = (&self.backend, &self.config);
        let (n, position) = (tokens.len(), cache.len());
        let shape = config.attention();
        let rope = self.rope.table(cache.long);

        backend.embed(&self.embedding, tokens, &mut a.x)?; // [n, hidden]
        for (layer, (keys, values)) in self.layers.iter().zip(cache.layers()) {
            backend.rms_norm(&a.x, n, &layer.attention_norm, config.norm_eps, &mut a.normed)?; // [n, hidden]
            backend.matmul(&layer.qkv, &a.normed, n, &mut a.qkv)?; // [n, (heads + 2·kv_heads)·head_dim]
            backend.rope(&mut a.qkv, n, position, &shape, config.rope.dim / 2, rope)?;
            backend.attention(&a.qkv, n, position, &shape, keys, values, &mut a.attended)?; // [n, heads·head_dim]
            backend.matmul(&layer.attention_output, &a.attended, n, &mut a.delta)?; // [n, hidden]
            backend.add(&mut a.x, &a.delta, n * config.hidden)?;

            backend.rms_norm(&a.x, n, &layer.ffn_norm, config.norm_eps, &mut a.normed)?; // [n, hidden]
            backend.matmul(&layer.gate_up, &a.normed, n, &mut a.gate_up)?; // [n, 2·ffn]
            backend.swiglu(&a.gate_up, n, config.ffn, &mut a.gated)?; // [n, ffn]
            backend.matmul(&layer.ffn_down, &a.gated, n, &mut a.delta)?; // [n, hidden]
            backend.add(&mut a.x, &a.delta, n * config.hidden)?;
        }
        Ok(())
    }

    /// The logits of the batch's token `row` after [`Model::forward`]; `vocab` of them. Awaits the device.
    pub async fn logits(&self, a: &mut Activations<B>, row: usize) -> Result<Vec<f32>> {
        let (backend, config) = (&self.backend, &self.config);
        backend.copy_row(&a.x, row, config.hidden, &mut a.last)?; // [hidden]
        backend.rms_norm(&a.last, 1, &self.output_norm, config.norm_eps, &mut a.normed)?; // [1, hidden]
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        backend.matmul(output, &a.normed, 1, &mut a.logits)?; // [1, vocab]
        backend.read(&a.logits, config.vocab).await
    }

    /// Awaits the device without wanting a result: its errors surface here, and its queue does not run away.
    pub async fn finished(&self, a: &Activations<B>) -> Result<()> {
        self.backend.read(&a.x, 1).await.map(drop)
    }
}
