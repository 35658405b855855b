//! F32, F16, BF16, and every scheme without kernels of its own: rows as they stand in the file, widened by their scheme.

#[cfg(target_feature = "simd128")]
mod simd128;

use super::{Kernel, Scratch};
use crate::engine::cpu::ops;
use crate::quant::{Kernels, Scheme};
use crate::tensor::DType;
use std::cell::Cell;

pub struct Float {
    scheme: &'static dyn Scheme,
    kernels: Kernels,
    /// Some F16 is infinite or no number: rare, and left to those who take their time.
    special: Cell<bool>,
}

impl Float {
    pub fn kernel(scheme: &'static dyn Scheme, kernels: Kernels) -> Box<dyn Kernel> {
        Box::new(Self { scheme, kernels, special: Cell::new(false) })
    }

    fn bytes<'a>(&self, store: &'a [u8], cols: usize, row: usize) -> &'a [u8] {
        let row_bytes = self.row_bytes(cols);
        &store[row * row_bytes..][..row_bytes]
    }

    /// What multiplies a row with one token without widening it first, with the bits of `ops::dot`; for decoding.
    fn direct(&self) -> Option<Dot> {
        match self.kernels {
            Kernels::Scalar => None,
            #[cfg(target_feature = "simd128")]
            Kernels::Simd128 => match self.scheme.spec().dtype {
                DType::F16 if !self.special.get() => Some(simd128::dot_f16),
                DType::BF16 => Some(simd128::dot_bf16),
                _ => None,
            },
        }
    }
}

/// A row as it stands in the file, times one token.
type Dot = fn(&[u8], &[f32]) -> f32;

/// Below so many tokens, a widened row is not used often enough.
const FEW: usize = 3;

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
        if self.scheme.spec().dtype == DType::F16 {
            // All bits of the exponent.
            let special = |half: &[u8; 2]| u16::from_le_bytes(*half) & 0x7c00 == 0x7c00;
            self.special.set(self.special.get() || bytes.as_chunks().0.iter().any(special));
        }
    }

    fn row(&self, store: &[u8], cols: usize, row: usize, out: &mut [f32], _scratch: &mut Scratch) {
        self.scheme.dequantize(self.kernels, &[self.bytes(store, cols, row)], cols, out);
    }

    fn matmul(&self, store: &[u8], cols: usize, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let tokens = x.len() / cols;
        let rows = out.len() / tokens;
        let direct = self.direct().filter(|_| tokens < FEW);
        scratch.floats.resize(cols, 0.0);
        for row in 0..rows {
            let bytes = self.bytes(store, cols, row);
            let tokens = x.chunks_exact(cols).zip(out.chunks_exact_mut(rows).map(|out| &mut out[row]));
            if let Some(dot) = direct {
                tokens.for_each(|(x, out)| *out = dot(bytes, x));
                continue;
            }
            // F32 rows are what they are: the store is aligned.
            let aligned = (self.scheme.spec().dtype == DType::F32).then(|| bytemuck::cast_slice(bytes));
            let weights = aligned.unwrap_or_else(|| {
                self.scheme.dequantize(self.kernels, &[bytes], cols, &mut scratch.floats);
                &scratch.floats
            });
            tokens.for_each(|(x, out)| *out = ops::dot(self.kernels, weights, x));
        }
    }
}
