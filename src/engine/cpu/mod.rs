//! The CPU backend: scalar (the reference) and SIMD128, bit for bit equal.
//!
//! Every output element depends on its own row of weights and its own token alone, in an order of arithmetic that is
//! fixed: batches of any size, and both implementations, give the same bits.

pub mod matmul;
pub mod ops;

use super::{Attention, Backend, zeros};
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
}

impl Cpu {
    pub fn new(kernels: Kernels) -> Self {
        Self { kernels, scratch: RefCell::default() }
    }
}

impl Default for Cpu {
    /// The fastest that can run here.
    fn default() -> Self {
        Self::new(Kernels::best())
    }
}

/// Weights `[rows, cols]` in the form that their kernel likes.
pub struct Matrix {
    rows: usize,
    cols: usize,
    dtype: DType,
    kernel: Box<dyn Kernel>,
    /// 16-byte units, so that rows of f32 are aligned.
    store: Vec<u128>,
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
        let kernel = matmul::kernel(dtype, self.kernels)?;
        let Some(bytes) = kernel.row_bytes(cols).checked_mul(rows.next_multiple_of(kernel.tile())) else {
            bail!(OutOfMemory, "a matrix of {rows} rows of {cols} does not fit the memory of this machine");
        };
        Ok(Matrix { rows, cols, dtype, kernel, store: zeros(bytes.div_ceil(16))? })
    }

    fn fill(&self, matrix: &mut Matrix, row: usize, bytes: &[u8]) -> Result<()> {
        let row_bytes = matrix.dtype.row_bytes(matrix.cols as u64).unwrap_or(0) as usize;
        if row_bytes == 0 || !bytes.len().is_multiple_of(row_bytes) || row + bytes.len() / row_bytes > matrix.rows {
            bail!(Internal, "{} bytes at row {row} of {} rows of {row_bytes}", bytes.len(), matrix.rows);
        }
        let store = bytemuck::cast_slice_mut(&mut matrix.store);
        for (i, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
            matrix.kernel.put(store, matrix.cols, row + i, bytes);
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

    fn rms_norm(&self, x: &Vec<f32>, tokens: usize, weight: &Vec<f32>, eps: f32, out: &mut Vec<f32>) -> Result<()> {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).take(tokens) {
            ops::rms_norm(self.kernels, x, weight, eps, out);
        }
        Ok(())
    }

    fn matmul(&self, weights: &Matrix, x: &Vec<f32>, tokens: usize, out: &mut Vec<f32>) -> Result<()> {
        let Matrix { rows, cols, kernel, store, .. } = weights;
        let (x, out) = (&x[..tokens * cols], &mut out[..tokens * rows]);
        kernel.matmul(bytemuck::cast_slice(store), *cols, x, out, &mut self.scratch.borrow_mut());
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

    fn add(&self, x: &mut Vec<f32>, y: &Vec<f32>, len: usize) -> Result<()> {
        for (x, y) in x[..len].iter_mut().zip(y) {
            *x += y;
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
