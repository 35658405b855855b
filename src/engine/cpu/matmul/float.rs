//! F32, F16, BF16, and every scheme without kernels of its own: rows as they stand in the file, widened by their scheme.

use super::{Kernel, Scratch};
use crate::engine::cpu::ops;
use crate::quant::{Kernels, Scheme};
use crate::tensor::DType;

pub struct Float {
    pub scheme: &'static dyn Scheme,
    pub kernels: Kernels,
}

impl Kernel for Float {
    fn tile(&self) -> usize {
        1
    }

    fn row_bytes(&self, cols: usize) -> usize {
        let dtype = self.scheme.spec().dtype;
        cols / dtype.group * dtype.group_bytes
    }

    fn put(&self, store: &mut [u8], cols: usize, row: usize, bytes: &[u8]) {
        let row_bytes = self.row_bytes(cols);
        store[row * row_bytes..][..row_bytes].copy_from_slice(bytes);
    }

    fn row(&self, store: &[u8], cols: usize, row: usize, out: &mut [f32], _scratch: &mut Scratch) {
        let row_bytes = self.row_bytes(cols);
        self.scheme.dequantize(self.kernels, &[&store[row * row_bytes..][..row_bytes]], cols, out);
    }

    fn matmul(&self, store: &[u8], cols: usize, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let rows = out.len() / (x.len() / cols);
        scratch.floats.resize(cols, 0.0);
        for row in 0..rows {
            let bytes = &store[row * self.row_bytes(cols)..][..self.row_bytes(cols)];
            // F32 rows are what they are: the store is aligned.
            let aligned = (self.scheme.spec().dtype == DType::F32).then(|| bytemuck::cast_slice(bytes));
            let weights = aligned.unwrap_or_else(|| {
                self.scheme.dequantize(self.kernels, &[bytes], cols, &mut scratch.floats);
                &scratch.floats
            });
            for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(rows)) {
                out[row] = ops::dot(self.kernels, weights, x);
            }
        }
    }
}
