//! The backend that runs a model: records dispatches, no arithmetic. One token is one submission.

use super::device::{Gpu, Info};
use super::params;
use super::record::{Memory, Recorder};
use super::weights::Matrix;
use crate::bail;
use crate::engine::{Attention, Backend, Norm, Routing, Slots};
use crate::error::Result;
use crate::tensor::DType;
use std::cell::{Cell, RefCell};

/// From so many tokens on, tiles are worth their padding.
const TILED: usize = 8;
/// Threads of the shaders that go over elements.
const THREADS: usize = 64;
/// The most workgroups of a dispatch's dimension.
const WORKGROUPS: usize = 65535;

/// Written bytes after which they are sent: until then the driver keeps a copy of them.
const UNSENT: u64 = 64 << 20;

/// f32 activations on the device.
pub struct Buffer {
    memory: Memory,
    len: usize,
}

pub struct WebGpu {
    /// Token ids for `embed`.
    tokens: RefCell<Option<Buffer>>,
    /// Boxed: it is large, and those who choose between backends hold either.
    recorder: Box<Recorder>,
    /// Bytes that a part of a matrix may have.
    max_part: Cell<u64>,
    /// Bytes of weights written since something was sent.
    unsent: Cell<u64>,
}

impl WebGpu {
    /// `any_adapter`: a software adapter will do too. Fails with `NoDevice`.
    pub async fn new(any_adapter: bool) -> Result<Self> {
        let gpu = Gpu::request(any_adapter).await?;
        let max_part = Cell::new(gpu.max_binding);
        Ok(Self { tokens: RefCell::new(None), recorder: Box::new(Recorder::new(gpu)), max_part, unsent: Cell::new(0) })
    }

    /// Parts of the matrices to come of at most so many bytes: smaller than the device demands, for tests.
    pub fn limit_parts(&self, bytes: u64) {
        self.max_part.set(bytes.min(self.recorder.gpu.max_binding));
    }

    pub fn info(&self) -> &Info {
        &self.recorder.gpu.info
    }

    /// Loses the device on purpose, for tests of what happens then.
    pub fn lose(&self) {
        self.recorder.gpu.lose();
    }

    fn memory(&self, len: usize) -> Result<Buffer> {
        self.recorder.gpu.check()?;
        let bytes = 4 * len as u64;
        if bytes > self.recorder.gpu.max_binding {
            bail!(
                OutOfMemory,
                "this GPU binds at most {} MiB at once, not {}; take a shorter context",
                self.recorder.gpu.max_binding >> 20,
                bytes >> 20
            );
        }
        Ok(Buffer { memory: self.recorder.memory("activations", bytes), len })
    }

    fn attention_params(
        &self,
        tokens: usize,
        position: usize,
        shape: &Attention,
        cache: &Buffer,
    ) -> Result<params::Attention> {
        if !shape.head_dim.is_multiple_of(4) || shape.head_dim > 256 {
            let dim = shape.head_dim;
            bail!(
                Unsupported,
                "the GPU's attention takes heads of 4, 8 … 256 elements, not {dim}; the CPU can take over"
            );
        }
        let context = cache.len / (shape.kv_heads * shape.head_dim);
        assert!(position + tokens <= context, "position {position} + {tokens} tokens in a cache of {context}");
        Ok(params::Attention {
            heads: shape.heads as u32,
            kv_heads: shape.kv_heads as u32,
            quarters: (shape.head_dim / 4) as u32,
            context: context as u32,
            position: position as u32,
            tokens: tokens as u32,
            window: shape.window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX)),
            scale: 1.0 / (shape.head_dim as f32).sqrt(),
        })
    }
}

impl Backend for WebGpu {
    type Buffer = Buffer;
    type Matrix = Matrix;

    fn name(&self) -> &'static str {
        "webgpu"
    }

    fn buffer(&self, len: usize) -> Result<Buffer> {
        self.memory(len)
    }

    fn upload(&self, data: &[f32]) -> Result<Buffer> {
        let buffer = self.memory(data.len())?;
        self.recorder.gpu.queue.write_buffer(&buffer.memory.raw, 0, bytemuck::cast_slice(data));
        Ok(buffer)
    }

    fn matrix(&self, dtype: DType, rows: usize, cols: usize) -> Result<Matrix> {
        self.recorder.gpu.check()?;
        Matrix::new(&self.recorder, self.max_part.get(), dtype, rows, cols)
    }

    fn stack(&self, dtype: DType, count: usize, rows: usize, cols: usize) -> Result<Matrix> {
        self.recorder.gpu.check()?;
        let mut matrix = Matrix::new(&self.recorder, self.max_part.get(), dtype, count * rows, cols)?;
        matrix.each = rows;
        Ok(matrix)
    }

    fn fill(&self, matrix: &mut Matrix, row: usize, bytes: &[u8]) -> Result<()> {
        self.recorder.gpu.check()?;
        matrix.fill(&self.recorder.gpu.queue, row, bytes);
        self.unsent.set(self.unsent.get() + bytes.len() as u64);
        if self.unsent.get() >= UNSENT {
            self.unsent.set(0);
            self.recorder.flush();
        }
        Ok(())
    }

    fn embed(&self, table: &Matrix, tokens: &[u32], out: &mut Buffer) -> Result<()> {
        assert!(tokens.len() * table.cols <= out.len, "room for {} rows", tokens.len());
        // A write comes before everything that is pending, so what is pending goes first.
        if !self.recorder.is_idle() {
            self.recorder.submit();
        }
        let mut held = self.tokens.borrow_mut();
        let ids = match held.take().filter(|ids| ids.len >= tokens.len()) {
            Some(ids) => ids,
            None => self.memory(tokens.len().next_power_of_two())?,
        };
        self.recorder.gpu.queue.write_buffer(&ids.memory.raw, 0, bytemuck::cast_slice(tokens));
        for part in &table.parts {
            let params = params::Embed {
                chunks: table.chunks(),
                scale_stride: table.scale_stride() as u32,
                rows: part.rows as u32,
                first_row: part.first_row as u32,
            };
            let storage = [&part.quants, &part.scales, &ids.memory, &out.memory];
            let grid = [(table.cols / 8).div_ceil(THREADS), tokens.len(), 1];
            self.recorder.dispatch(("ops/embed", table.shader()), &params, &storage, grid);
        }
        *held = Some(ids);
        Ok(())
    }

    fn norm(
        &self,
        kind: Norm,
        x: &Buffer,
        tokens: usize,
        weight: &Buffer,
        bias: Option<&Buffer>,
        eps: f32,
        out: &mut Buffer,
    ) -> Result<()> {
        let params = params::Norm {
            width: weight.len as u32,
            eps,
            centered: (kind == Norm::Layer).into(),
            biased: bias.is_some().into(),
        };
        let storage = [&x.memory, &weight.memory, &bias.unwrap_or(weight).memory, &out.memory];
        self.recorder.dispatch(("ops/norm", ""), &params, &storage, [tokens, 1, 1]);
        Ok(())
    }

    fn matmul(&self, weights: &Matrix, x: &Buffer, tokens: usize, out: &mut Buffer) -> Result<()> {
        self.matmul_at(weights, x, tokens, 0, weights.rows, out)
    }

    fn matmul_at(
        &self,
        weights: &Matrix,
        x: &Buffer,
        tokens: usize,
        first: usize,
        width: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        assert!(tokens * weights.cols <= x.len && tokens * width <= out.len, "room for {tokens} tokens");
        for part in &weights.parts {
            let params = params::Matmul {
                chunks: weights.chunks(),
                scale_stride: weights.scale_stride() as u32,
                rows: part.rows as u32,
                first_row: (first + part.first_row) as u32,
                width: width as u32,
                tokens: tokens as u32,
            };
            let (family, grid) = if tokens < TILED {
                ("ops/matvec", [part.rows.div_ceil(4), tokens, 1])
            } else {
                ("ops/matmul", [part.rows.div_ceil(64), tokens.div_ceil(64), 1])
            };
            let storage = [&part.quants, &part.scales, &x.memory, &out.memory];
            self.recorder.dispatch((family, weights.shader()), &params, &storage, grid);
        }
        Ok(())
    }

    fn route(&self, routing: Routing, scores: &Buffer, count: usize, slots: Slots, routes: &mut Buffer) -> Result<()> {
        let (sparse, jitter) = match routing {
            Routing::SparseMixer { jitter } => (1, jitter),
            Routing::Softmax => (0, 0.0),
        };
        let Slots { tokens, used, .. } = slots;
        let params = params::Route { count: count as u32, used: used as u32, tokens: tokens as u32, sparse, jitter };
        let storage = [&scores.memory, &routes.memory];
        self.recorder.dispatch(("ops/route", ""), &params, &storage, [tokens.div_ceil(THREADS), 1, 1]);
        Ok(())
    }

    fn matmul_routed(
        &self,
        weights: &Matrix,
        routes: &Buffer,
        x: &Buffer,
        slots: Slots,
        first: usize,
        width: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        let Slots { tokens, used, own } = slots;
        let rows = if own { tokens * used } else { tokens };
        assert!(rows * weights.cols <= x.len && tokens * used * width <= out.len, "room for {tokens} tokens");
        for part in &weights.parts {
            let params = params::Routed {
                chunks: weights.chunks(),
                scale_stride: weights.scale_stride() as u32,
                rows: part.rows as u32,
                first_row: part.first_row as u32,
                each: weights.each as u32,
                column: first as u32,
                width: width as u32,
                used: used as u32,
                own: own.into(),
            };
            let storage = [&part.quants, &part.scales, &x.memory, &routes.memory, &out.memory];
            let grid = [weights.each.div_ceil(4), tokens * used, 1];
            self.recorder.dispatch(("ops/matvec_routed", weights.shader()), &params, &storage, grid);
        }
        Ok(())
    }

    fn combine(&self, x: &Buffer, routes: &Buffer, slots: Slots, width: usize, out: &mut Buffer) -> Result<()> {
        let params = params::Combine { width: width as u32, used: slots.used as u32 };
        let storage = [&x.memory, &routes.memory, &out.memory];
        let grid = [width.div_ceil(THREADS), slots.tokens, 1];
        self.recorder.dispatch(("ops/combine", ""), &params, &storage, grid);
        Ok(())
    }

    fn rope(
        &self,
        qkv: &mut Buffer,
        tokens: usize,
        position: usize,
        shape: &Attention,
        pairs: usize,
        table: &Buffer,
    ) -> Result<()> {
        assert!(2 * pairs * (position + tokens) <= table.len, "a table for position {}", position + tokens);
        let heads = shape.heads + shape.kv_heads;
        let params = params::Rope {
            heads: heads as u32,
            head_dim: shape.head_dim as u32,
            pairs: pairs as u32,
            width: shape.qkv() as u32,
            position: position as u32,
        };
        let grid = [(heads * pairs).div_ceil(THREADS), tokens, 1];
        self.recorder.dispatch(("ops/rope", ""), &params, &[&qkv.memory, &table.memory], grid);
        Ok(())
    }

    fn attention(
        &self,
        qkv: &Buffer,
        tokens: usize,
        position: usize,
        shape: &Attention,
        keys: &mut Buffer,
        values: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<()> {
        let params = self.attention_params(tokens, position, shape, keys)?;
        let grid = [(shape.kv_heads * shape.head_dim / 4).div_ceil(THREADS), tokens, 1];
        let storage = [&qkv.memory, &keys.memory, &values.memory];
        self.recorder.dispatch(("ops/store", ""), &params, &storage, grid);
        let storage = [&qkv.memory, &keys.memory, &values.memory, &out.memory];
        self.recorder.dispatch(("ops/attention", ""), &params, &storage, [shape.heads, tokens, 1]);
        Ok(())
    }

    fn swiglu(&self, gate_up: &Buffer, tokens: usize, width: usize, out: &mut Buffer) -> Result<()> {
        let params = params::Swiglu { width: width as u32 };
        let grid = [width.div_ceil(THREADS), tokens, 1];
        self.recorder.dispatch(("ops/swiglu", ""), &params, &[&gate_up.memory, &out.memory], grid);
        Ok(())
    }

    fn gelu(&self, x: &Buffer, len: usize, out: &mut Buffer) -> Result<()> {
        let params = params::Gelu { count: len as u32 };
        let grid = [len.div_ceil(THREADS).min(WORKGROUPS), 1, 1];
        self.recorder.dispatch(("ops/gelu", ""), &params, &[&x.memory, &out.memory], grid);
        Ok(())
    }

    fn add(&self, x: &mut Buffer, y: &Buffer, len: usize) -> Result<()> {
        let params = params::Add { count: len as u32, period: y.len as u32 };
        let grid = [len.div_ceil(THREADS).min(WORKGROUPS), 1, 1];
        self.recorder.dispatch(("ops/add", ""), &params, &[&x.memory, &y.memory], grid);
        Ok(())
    }

    fn copy_row(&self, x: &Buffer, row: usize, width: usize, out: &mut Buffer) -> Result<()> {
        let params = params::CopyRow { row: row as u32, width: width as u32 };
        let grid = [width.div_ceil(THREADS).min(WORKGROUPS), 1, 1];
        self.recorder.dispatch(("ops/copy_row", ""), &params, &[&x.memory, &out.memory], grid);
        Ok(())
    }

    async fn read(&self, x: &Buffer, len: usize) -> Result<Vec<f32>> {
        let mut data = vec![0.0; len];
        self.recorder.read(&x.memory, bytemuck::cast_slice_mut(&mut data)).await?;
        Ok(data)
    }
}
