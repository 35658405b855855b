//! Backends: a backend computes, the model says what.
//!
//! An operation is here only because `phi/forward.rs` calls it. Buffers are f32, row-major, `[tokens, width]`. The only
//! await is reading results back.

pub mod cpu;
pub mod gpu;
pub mod levels;

use crate::bail;
use crate::error::Result;
use crate::tensor::DType;

/// `len` zeros in this machine's memory; `OutOfMemory` where the allocator has no room, instead of an abort.
pub fn zeros<T: bytemuck::Zeroable + Clone>(len: usize) -> Result<Vec<T>> {
    let mut zeros = Vec::new();
    if zeros.try_reserve_exact(len).is_err() {
        let mib = len.saturating_mul(size_of::<T>()) >> 20;
        bail!(
            OutOfMemory,
            "no memory for another {mib} MiB; take a smaller scheme, a shorter context or a smaller model"
        );
    }
    zeros.resize(len, T::zeroed());
    Ok(zeros)
}

/// The shape of grouped-query attention over a KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Attend to at most this many latest tokens, the present one included.
    pub window: Option<usize>,
}

impl Attention {
    /// Width of a row of queries, keys and values: `(heads + 2·kv_heads)·head_dim`.
    pub const fn qkv(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

/// How a stream is normalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Divided by its root mean square.
    Rms,
    /// Its mean taken away, then divided by its standard deviation.
    Layer,
}

/// How a token's experts and their weights follow from the router's scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Routing {
    /// SparseMixer-v2 at inference (<https://arxiv.org/abs/2409.12136>, as transformers' `sparsemixer`): two experts, one
    /// after the other. The weight of each is a softmax over its score and those of the others (without the first, for the
    /// second) that are close to it: `(score − other) / max(|other|, score) ≤ 2·jitter`.
    SparseMixer { jitter: f32 },
    /// The best of a softmax, their weights scaled to a sum of 1: what llama.cpp computes for phimoe.
    Softmax,
}

/// The products of a batch with its experts: `used` slots for each of `tokens` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    pub tokens: usize,
    pub used: usize,
    /// Each slot has a row of `x`; otherwise each token has, for all its slots.
    pub own: bool,
}

/// A device that computes. Operations may run at once (CPU) or be recorded until the next `read` (GPU): an error of the
/// device surfaces in `read` at the latest.
#[allow(async_fn_in_trait)] // used generically only, on one thread
pub trait Backend {
    /// f32 activations.
    type Buffer;
    /// Weights `[rows, cols]` of one dtype, in the form that the device likes.
    type Matrix;

    /// `scalar`, `simd128`, `webgpu` …
    fn name(&self) -> &'static str;

    /// A buffer of `len` zeros.
    fn buffer(&self, len: usize) -> Result<Self::Buffer>;

    fn upload(&self, data: &[f32]) -> Result<Self::Buffer>;

    /// Room for a matrix; `Unsupported` names the dtype where the device has no kernel for it.
    fn matrix(&self, dtype: DType, rows: usize, cols: usize) -> Result<Self::Matrix>;

    /// Room for `count` matrices of one shape: row r of the n-th is row `n·rows + r` of the whole.
    fn stack(&self, dtype: DType, count: usize, rows: usize, cols: usize) -> Result<Self::Matrix>;

    /// Writes whole rows, as they stand in the file, from row `row` on.
    fn fill(&self, matrix: &mut Self::Matrix, row: usize, bytes: &[u8]) -> Result<()>;

    /// `out[t] = table[tokens[t]]`: `[tokens, cols]`.
    fn embed(&self, table: &Self::Matrix, tokens: &[u32], out: &mut Self::Buffer) -> Result<()>;

    /// `out[t] = (x[t] − m) / sqrt(mean((x[t] − m)²) + eps) · weight + bias` over rows of `weight`'s length; m is 0 for
    /// [`Norm::Rms`] and mean(x[t]) for [`Norm::Layer`].
    #[allow(clippy::too_many_arguments)]
    fn norm(
        &self,
        kind: Norm,
        x: &Self::Buffer,
        tokens: usize,
        weight: &Self::Buffer,
        bias: Option<&Self::Buffer>,
        eps: f32,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// `out[t, r] = Σ_c weights[r, c] · x[t, c]`. F32, F16 and BF16 weights: f32 arithmetic throughout. Quantized weights:
    /// `x` may be rounded to 8 or more bits per block of 32 (the CPU takes 15).
    fn matmul(&self, weights: &Self::Matrix, x: &Self::Buffer, tokens: usize, out: &mut Self::Buffer) -> Result<()>;

    /// As [`Backend::matmul`], into columns `first` and following of rows of `width`; the others stay.
    fn matmul_at(
        &self,
        weights: &Self::Matrix,
        x: &Self::Buffer,
        tokens: usize,
        first: usize,
        width: usize,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// Chooses `used` of `count` experts for each token by its `scores` (`[tokens, count]`). `routes[t]`: the experts'
    /// numbers as f32, then their weights; `[tokens, 2·used]`. Of equal scores the first expert's counts more.
    fn route(
        &self,
        routing: Routing,
        scores: &Self::Buffer,
        count: usize,
        slots: Slots,
        routes: &mut Self::Buffer,
    ) -> Result<()>;

    /// `out[s, first + r] = Σ_c weights[e, r, c] · x[s or t, c]` for each slot s = t·used + k, with e = `routes[t, k]`: a
    /// stack's matrix for each slot, into columns `first` and following of rows of `width`. Rounds as [`Backend::matmul`].
    #[allow(clippy::too_many_arguments)]
    fn matmul_routed(
        &self,
        weights: &Self::Matrix,
        routes: &Self::Buffer,
        x: &Self::Buffer,
        slots: Slots,
        first: usize,
        width: usize,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// `out[t] = Σ_k routes[t, used + k] · x[t·used + k]` over rows of `width`.
    fn combine(
        &self,
        x: &Self::Buffer,
        routes: &Self::Buffer,
        slots: Slots,
        width: usize,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// Rotates the leading `2·pairs` elements of every query and key head in `qkv` (`[tokens, shape.qkv()]`) in place;
    /// element i pairs with i + pairs (NeoX order). `table`: `[positions, 2·pairs]`, cosines then sines, already scaled;
    /// token t stands at `position + t`.
    fn rope(
        &self,
        qkv: &mut Self::Buffer,
        tokens: usize,
        position: usize,
        shape: &Attention,
        pairs: usize,
        table: &Self::Buffer,
    ) -> Result<()>;

    /// Appends the keys and values of `qkv` to the cache at `position`, and attends causally:
    /// `out[t] = softmax(q·k / sqrt(head_dim))·v`, `[tokens, heads·head_dim]`. `keys`, `values`: made by `buffer` with
    /// `context·kv_heads·head_dim` elements; their order is the backend's own, and entries from `position` on may hold
    /// what an aborted pass has left.
    #[allow(clippy::too_many_arguments)]
    fn attention(
        &self,
        qkv: &Self::Buffer,
        tokens: usize,
        position: usize,
        shape: &Attention,
        keys: &mut Self::Buffer,
        values: &mut Self::Buffer,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// `out[t, i] = silu(gate_up[t, i]) · gate_up[t, width + i]`, `width` outputs a token.
    fn swiglu(&self, gate_up: &Self::Buffer, tokens: usize, width: usize, out: &mut Self::Buffer) -> Result<()>;

    /// `out[i] = gelu(x[i])` over the first `len` elements: `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
    fn gelu(&self, x: &Self::Buffer, len: usize, out: &mut Self::Buffer) -> Result<()>;

    /// `x += y` over the first `len` elements; a shorter `y`, such as a row, is repeated.
    fn add(&self, x: &mut Self::Buffer, y: &Self::Buffer, len: usize) -> Result<()>;

    /// Copies row `row` of `[_, width]` to the start of `out`.
    fn copy_row(&self, x: &Self::Buffer, row: usize, width: usize, out: &mut Self::Buffer) -> Result<()>;

    /// The first `len` elements; awaits the device.
    async fn read(&self, x: &Self::Buffer, len: usize) -> Result<Vec<f32>>;
}
