//! The Phi transformer, once, generic over the backend.
//!
//! ```text
//! tokens ─► embed ─► x ─┬─ norm ─ qkv ─ rope ─ attention ─ output ─(+)─┬─ norm ─ up ─ activation ─ down ─(+)─► …
//!                       └─────────────────────────────────────────┘   └───────────────────────────────┘
//! … ─► x ─► norm ─► output matrix ─► logits
//! ```
//!
//! Phi-1, 1.5 and 2 give attention and the feed-forward layer the same norm, and add both to the stream. A mixture of
//! experts stands in place of up … down: a router chooses some of many.
//!
//! As transformers 5.23 computes it (`modeling_phi.py`, `modeling_phi3.py`, `modeling_phimoe.py`), in f32.

use crate::engine::{Attention, Backend, Slots};
use crate::error::Result;
use crate::phi::cache::Cache;
use crate::phi::config::{Activation, Config};
use crate::phi::model::{Ffn, Linear, Model, NormWeights};

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
    /// Gates, then ups: `[batch·used, 2·ffn]`; without gates `[batch, ffn]`.
    up: B::Buffer,
    /// `[batch·used, ffn]`.
    active: B::Buffer,
    /// What attention or the feed-forward layer adds to the stream, `[batch, hidden]`.
    delta: B::Buffer,
    experts: Option<ExpertActivations<B>>,
    /// The stream at the one token whose logits are wanted, `[hidden]`.
    last: B::Buffer,
    /// `[vocab]`.
    logits: B::Buffer,
}

struct ExpertActivations<B: Backend> {
    /// `[batch, count]`.
    scores: B::Buffer,
    /// Experts and their weights, `[batch, 2·used]`.
    routes: B::Buffer,
    /// What each expert says, `[batch·used, hidden]`.
    said: B::Buffer,
}

impl<B: Backend> Activations<B> {
    pub fn new(backend: &B, config: &Config, batch: usize) -> Result<Self> {
        let shape = config.attention();
        let used = config.experts.map_or(1, |experts| experts.used);
        let gates = if config.activation == Activation::SwiGlu { 2 } else { 1 };
        let experts = match &config.experts {
            None => None,
            Some(experts) => Some(ExpertActivations {
                scores: backend.buffer(batch * experts.count)?,
                routes: backend.buffer(batch * 2 * used)?,
                said: backend.buffer(batch * used * config.hidden)?,
            }),
        };
        Ok(Self {
            batch,
            x: backend.buffer(batch * config.hidden)?,
            normed: backend.buffer(batch * config.hidden)?,
            qkv: backend.buffer(batch * shape.qkv())?,
            attended: backend.buffer(batch * shape.heads * shape.head_dim)?,
            up: backend.buffer(batch * used * gates * config.ffn)?,
            active: backend.buffer(batch * used * config.ffn)?,
            delta: backend.buffer(batch * config.hidden)?,
            experts,
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
            self.norm(&layer.attention_norm, &a.x, n, &mut a.normed)?; // [n, hidden]
            self.project(&layer.qkv, &a.normed, n, &mut a.qkv)?; // [n, (heads + 2·kv_heads)·head_dim]
            backend.rope(&mut a.qkv, n, position, &shape, config.rope.dim / 2, rope)?;
            backend.attention(&a.qkv, n, position, &shape, keys, values, &mut a.attended)?; // [n, heads·head_dim]
            self.project(&layer.attention_output, &a.attended, n, &mut a.delta)?; // [n, hidden]
            backend.add(&mut a.x, &a.delta, n * config.hidden)?;

            if let Some(norm) = &layer.ffn_norm {
                self.norm(norm, &a.x, n, &mut a.normed)?; // [n, hidden]
            }
            self.feed_forward(&layer.ffn, a, n)?; // [n, hidden]
            backend.add(&mut a.x, &a.delta, n * config.hidden)?;
        }
        Ok(())
    }

    /// From `a.normed` to `a.delta`.
    fn feed_forward(&self, ffn: &Ffn<B>, a: &mut Activations<B>, n: usize) -> Result<()> {
        match ffn {
            Ffn::Dense { up, down } => {
                self.project(up, &a.normed, n, &mut a.up)?; // [n, 2·ffn] or [n, ffn]
                self.activate(&a.up, n, &mut a.active)?; // [n, ffn]
                self.project(down, &a.active, n, &mut a.delta) // [n, hidden]
            }
            Ffn::Experts { router, up, down } => {
                let (experts, e) = match (&self.config.experts, &mut a.experts) {
                    (Some(experts), Some(e)) => (experts, e),
                    _ => unreachable!("a configuration with experts has buffers for them"),
                };
                let mut slots = Slots { tokens: n, used: experts.used, own: false };
                self.project(router, &a.normed, n, &mut e.scores)?; // [n, count]
                self.backend.route(experts.routing, &e.scores, experts.count, slots, &mut e.routes)?; // [n, 2·used]
                self.project_routed(up, &e.routes, &a.normed, slots, &mut a.up)?; // [n·used, 2·ffn]
                self.activate(&a.up, n * experts.used, &mut a.active)?; // [n·used, ffn]
                slots.own = true;
                self.project_routed(down, &e.routes, &a.active, slots, &mut e.said)?; // [n·used, hidden]
                self.backend.combine(&e.said, &e.routes, slots, self.config.hidden, &mut a.delta) // [n, hidden]
            }
        }
    }

    fn norm(&self, norm: &NormWeights<B>, x: &B::Buffer, n: usize, out: &mut B::Buffer) -> Result<()> {
        let Config { norm: kind, norm_eps, .. } = self.config;
        self.backend.norm(kind, x, n, &norm.weight, norm.bias.as_ref(), norm_eps, out)
    }

    /// `[n, cols]` to `[n, rows]`.
    fn project(&self, linear: &Linear<B>, x: &B::Buffer, n: usize, out: &mut B::Buffer) -> Result<()> {
        match &linear.matrices[..] {
            [(_, matrix)] => self.backend.matmul(matrix, x, n, out)?,
            parts => {
                for (first, matrix) in parts {
                    self.backend.matmul_at(matrix, x, n, *first, linear.rows, out)?;
                }
            }
        }
        match &linear.bias {
            Some(bias) => self.backend.add(out, bias, n * linear.rows),
            None => Ok(()),
        }
    }

    /// The same by the experts of each slot: `[slots, rows]`.
    fn project_routed(
        &self,
        linear: &Linear<B>,
        routes: &B::Buffer,
        x: &B::Buffer,
        slots: Slots,
        out: &mut B::Buffer,
    ) -> Result<()> {
        linear.matrices.iter().try_for_each(|(first, stack)| {
            self.backend.matmul_routed(stack, routes, x, slots, *first, linear.rows, out)
        })
    }

    fn activate(&self, up: &B::Buffer, n: usize, out: &mut B::Buffer) -> Result<()> {
        match self.config.activation {
            Activation::SwiGlu => self.backend.swiglu(up, n, self.config.ffn, out),
            Activation::Gelu => self.backend.gelu(up, n * self.config.ffn, out),
        }
    }

    /// The logits of the batch's token `row` after [`Model::forward`]; `vocab` of them. Awaits the device.
    pub async fn logits(&self, a: &mut Activations<B>, row: usize) -> Result<Vec<f32>> {
        let (backend, config) = (&self.backend, &self.config);
        backend.copy_row(&a.x, row, config.hidden, &mut a.last)?; // [hidden]
        self.norm(&self.output_norm, &a.last, 1, &mut a.normed)?; // [1, hidden]
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        backend.matmul(output, &a.normed, 1, &mut a.logits)?; // [1, vocab]
        if let Some(bias) = &self.output_bias {
            backend.add(&mut a.logits, bias, config.vocab)?;
        }
        backend.read(&a.logits, config.vocab).await
    }

    /// Awaits the device without wanting a result: its errors surface here, and its queue does not run away.
    pub async fn finished(&self, a: &Activations<B>) -> Result<()> {
        self.backend.read(&a.x, 1).await.map(drop)
    }
}
