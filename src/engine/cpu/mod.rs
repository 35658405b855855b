//! The CPU backend: scalar (the reference) and SIMD128, bit for bit equal.
//!
//! Every output element depends on its own row of weights and its own token alone, in an order of arithmetic that is
//! fixed: batches of any size, and both implementations, give the same bits.

pub mod matmul;
pub mod ops;

use super::{Attention, Backend, Norm, Routing, Slots, zeros};
use crate::bail;
use crate::error::Result;
use crate::quant::Kernels;
use crate::tensor::DType;
use matmul::{Kernel, Scratch};
use std::cell::RefCell;

pub struct Cpu {
    pub kernels: Kernels,
    /// Memory that operations need for a moment, kept from one to the next.
    scratch: RefCell<Scratch>,
    /// One matrix's share of a batch: activations, and results.
    share: RefCell<(Vec<f32>, Vec<f32>)>,
}

impl Cpu {
    pub fn new(kernels: Kernels) -> Self {
        Self { kernels, scratch: RefCell::default(), share: RefCell::default() }
    }
}

impl Default for Cpu {
    /// The fastest that can run here.
    fn default() -> Self {
        Self::new(Kernels::best())
    }
}

/// Weights `[count, rows, cols]` in the form that their kernel likes.
pub struct Matrix {
    rows: usize,
    /// Rows in the store from one matrix of a stack to the next.
    stride: usize,
    cols: usize,
    dtype: DType,
    kernel: Box<dyn Kernel>,
    /// 16-byte units, so that rows of f32 are aligned.
    store: Vec<u128>,
}

impl Matrix {
    /// The n-th matrix of a stack times `x`, `[tokens, cols]`.
    fn multiply(&self, n: usize, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let bytes = self.stride * self.kernel.row_bytes(self.cols);
        let store: &[u8] = bytemuck::cast_slice(&self.store);
        self.kernel.matmul(&store[n * bytes..], self.cols, x, out, scratch);
    }
}

impl Backend for Cpu {
    type Buffer = Vec<f32>;
    type Matrix = Matrix;

    fn name(&self) -> &'static str {
        self.kernels.name()
    }

    fn buffer(&self, len: usize) -> Result<Vec<f32>> {
        zeros(len)
    }

    fn upload(&self, data: &[f32]) -> Result<Vec<f32>> {
        let mut buffer = zeros(data.len())?;
        buffer.copy_from_slice(data);
        Ok(buffer)
    }

    fn matrix(&self, dtype: DType, rows: usize, cols: usize) -> Result<Matrix> {
        self.stack(dtype, 1, rows, cols)
    }

    fn stack(&self, dtype: DType, count: usize, rows: usize, cols: usize) -> Result<Matrix> {
        let kernel = matmul::kernel(dtype, self.kernels)?;
        let stride = rows.next_multiple_of(kernel.tile());
        let Some(bytes) = stride.checked_mul(count).and_then(|rows| rows.checked_mul(kernel.row_bytes(cols))) else {
            bail!(OutOfMemory, "{count} · {rows} rows of {cols} do not fit the memory of this machine");
        };
        Ok(Matrix { rows, stride, cols, dtype, kernel, store: zeros(bytes.div_ceil(16))? })
    }

    fn fill(&self, matrix: &mut Matrix, row: usize, bytes: &[u8]) -> Result<()> {
        let Matrix { rows, stride, cols, dtype, kernel, store } = matrix;
        let row_bytes = dtype.row_bytes(*cols as u64).unwrap_or(0) as usize;
        let store: &mut [u8] = bytemuck::cast_slice_mut(store);
        let count = store.len() / (*stride * kernel.row_bytes(*cols)).max(1);
        if row_bytes == 0 || !bytes.len().is_multiple_of(row_bytes) || row + bytes.len() / row_bytes > count * *rows {
            bail!(Internal, "{} bytes at row {row} of {count} · {rows} rows of {row_bytes}", bytes.len());
        }
        for (row, bytes) in (row..).zip(bytes.chunks_exact(row_bytes)) {
            kernel.put(store, *cols, row / *rows * *stride + row % *rows, bytes);
        }
        Ok(())
    }

    fn embed(&self, table: &Matrix, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        let store = bytemuck::cast_slice(&table.store);
        let scratch = &mut *self.scratch.borrow_mut();
        for (&token, out) in tokens.iter().zip(out.chunks_exact_mut(table.cols)) {
            table.kernel.row(store, table.cols, token as usize, out, scratch);
        }
        Ok(())
    }

    fn norm(
        &self,
        kind: Norm,
        x: &Vec<f32>,
        tokens: usize,
        weight: &Vec<f32>,
        bias: Option<&Vec<f32>>,
        eps: f32,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let (width, bias) = (weight.len(), bias.map(Vec::as_slice));
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).take(tokens) {
            ops::norm(self.kernels, kind, x, weight, bias, eps, out);
        }
        Ok(())
    }

    fn matmul(&self, weights: &Matrix, x: &Vec<f32>, tokens: usize, out: &mut Vec<f32>) -> Result<()> {
        self.matmul_at(weights, x, tokens, 0, weights.rows, out)
    }

    fn matmul_at(
        &self,
        weights: &Matrix,
        x: &Vec<f32>,
        tokens: usize,
        first: usize,
        width: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let (rows, x) = (weights.rows, &x[..tokens * weights.cols]);
        let scratch = &mut self.scratch.borrow_mut();
        if tokens == 1 || rows == width {
            weights.multiply(0, x, &mut out[first..][..tokens * rows], scratch);
            return Ok(());
        }
        let (_, found) = &mut *self.share.borrow_mut();
        found.resize(tokens * rows, 0.0);
        weights.multiply(0, x, found, scratch);
        for (row, out) in found.chunks_exact(rows).zip(out.chunks_exact_mut(width)) {
            out[first..][..rows].copy_from_slice(row);
        }
        Ok(())
    }

    fn route(
        &self,
        routing: Routing,
        scores: &Vec<f32>,
        count: usize,
        slots: Slots,
        routes: &mut Vec<f32>,
    ) -> Result<()> {
        let routes = routes.chunks_exact_mut(2 * slots.used);
        for (scores, routes) in scores.chunks_exact(count).zip(routes).take(slots.tokens) {
            let (experts, weights) = routes.split_at_mut(slots.used);
            ops::route(routing, scores, experts, weights);
        }
        Ok(())
    }

    /// Expert by expert, each with the slots that chose it: its weights are read once for a batch.
    fn matmul_routed(
        &self,
        weights: &Matrix,
        routes: &Vec<f32>,
        x: &Vec<f32>,
        slots: Slots,
        first: usize,
        width: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let Slots { tokens, used, own } = slots;
        let (rows, cols) = (weights.rows, weights.cols);
        let expert = |slot: usize| routes[slot / used * 2 * used + slot % used] as usize;
        let mut order: Vec<usize> = (0..tokens * used).collect();
        order.sort_by_key(|&slot| expert(slot));
        let scratch = &mut self.scratch.borrow_mut();
        let (gathered, found) = &mut *self.share.borrow_mut();
        for slots in order.chunk_by(|&a, &b| expert(a) == expert(b)) {
            gathered.clear();
            for slot in slots {
                let row = if own { *slot } else { slot / used };
                gathered.extend_from_slice(&x[row * cols..][..cols]);
            }
            found.resize(slots.len() * rows, 0.0);
            weights.multiply(expert(slots[0]), gathered, found, scratch);
            for (slot, row) in slots.iter().zip(found.chunks_exact(rows)) {
                out[slot * width + first..][..rows].copy_from_slice(row);
            }
        }
        Ok(())
    }

    fn combine(&self, x: &Vec<f32>, routes: &Vec<f32>, slots: Slots, width: usize, out: &mut Vec<f32>) -> Result<()> {
        let rows = x.chunks_exact(width * slots.used).zip(routes.chunks_exact(2 * slots.used));
        for ((x, routes), out) in rows.zip(out.chunks_exact_mut(width)).take(slots.tokens) {
            ops::combine(x, &routes[slots.used..], out);
        }
        Ok(())
    }

    fn rope(
        &self,
        qkv: &mut Vec<f32>,
        tokens: usize,
        position: usize,
        shape: &Attention,
        pairs: usize,
        table: &Vec<f32>,
    ) -> Result<()> {
        let rotated = (shape.heads + shape.kv_heads) * shape.head_dim;
        let rows = qkv.chunks_exact_mut(shape.qkv()).take(tokens);
        for (qkv, angles) in rows.zip(table.chunks_exact(2 * pairs).skip(position)) {
            let (cosines, sines) = angles.split_at(pairs);
            for head in qkv[..rotated].chunks_exact_mut(shape.head_dim) {
                let (a, b) = head[..2 * pairs].split_at_mut(pairs);
                ops::rotate(a, b, cosines, sines);
            }
        }
        Ok(())
    }

    fn attention(
        &self,
        qkv: &Vec<f32>,
        tokens: usize,
        position: usize,
        shape: &Attention,
        keys: &mut Vec<f32>,
        values: &mut Vec<f32>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        ops::append(qkv, tokens, position, shape, keys, values);
        let scores = &mut self.scratch.borrow_mut().scores;
        ops::attention(self.kernels, qkv, tokens, position, shape, keys, values, out, scores);
        Ok(())
    }

    fn swiglu(&self, gate_up: &Vec<f32>, tokens: usize, width: usize, out: &mut Vec<f32>) -> Result<()> {
        for (gate_up, out) in gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)).take(tokens) {
            let (gate, up) = gate_up.split_at(width);
            ops::swiglu(gate, up, out);
        }
        Ok(())
    }

    fn gelu(&self, x: &Vec<f32>, len: usize, out: &mut Vec<f32>) -> Result<()> {
        ops::gelu(&x[..len], &mut out[..len]);
        Ok(())
    }

    fn add(&self, x: &mut Vec<f32>, y: &Vec<f32>, len: usize) -> Result<()> {
        for x in x[..len].chunks_mut(y.len()) {
            for (x, y) in x.iter_mut().zip(y) {
                *x += y;
            }
        }
        Ok(())
    }

    fn copy_row(&self, x: &Vec<f32>, row: usize, width: usize, out: &mut Vec<f32>) -> Result<()> {
        out[..width].copy_from_slice(&x[row * width..][..width]);
        Ok(())
    }

    async fn read(&self, x: &Vec<f32>, len: usize) -> Result<Vec<f32>> {
        self.upload(&x[..len])
    }
}
