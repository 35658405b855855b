//! The definition of integer matrix products: rows as they stand in the file, unpacked one at a time.

use super::activations::{Activations, MAGIC, scale};
use super::{BLOCK, Kernel, Scratch};
use crate::quant::Kernels;

/// A scheme whose weights are integers times a scale per [`BLOCK`].
pub trait Levels {
    /// Weights and bytes of one of the scheme's blocks.
    const GROUP: (usize, usize);

    /// Unpacks a row: weight c is `levels[c] · scales[c / BLOCK]`. Levels are within ±4096.
    fn unpack(row: &[u8], levels: &mut [i16], scales: &mut [f32]);
}

pub struct Rows<L>(pub L);

impl<L: Levels> Rows<L> {
    fn unpack<'a>(store: &[u8], cols: usize, row: usize, levels: &'a mut Vec<i16>, scales: &'a mut Vec<f32>) {
        let row_bytes = cols / L::GROUP.0 * L::GROUP.1;
        levels.resize(cols, 0);
        scales.resize(cols / BLOCK, 0.0);
        L::unpack(&store[row * row_bytes..][..row_bytes], levels, scales);
    }
}

impl<L: Levels> Kernel for Rows<L> {
    fn tile(&self) -> usize {
        1
    }

    fn row_bytes(&self, cols: usize) -> usize {
        cols / L::GROUP.0 * L::GROUP.1
    }

    fn put(&self, store: &mut [u8], cols: usize, row: usize, bytes: &[u8]) {
        let row_bytes = self.row_bytes(cols);
        store[row * row_bytes..][..row_bytes].copy_from_slice(bytes);
    }

    fn row(&self, store: &[u8], cols: usize, row: usize, out: &mut [f32], scratch: &mut Scratch) {
        Self::unpack(store, cols, row, &mut scratch.levels, &mut scratch.scales);
        let blocks = out.chunks_exact_mut(BLOCK).zip(scratch.levels.chunks_exact(BLOCK));
        for ((out, levels), scale) in blocks.zip(&scratch.scales) {
            for (out, level) in out.iter_mut().zip(levels) {
                *out = scale * f32::from(*level);
            }
        }
    }

    fn matmul(&self, store: &[u8], cols: usize, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let tokens = x.len() / cols;
        let rows = out.len() / tokens;
        scratch.x.round(Kernels::Scalar, x);
        for row in 0..rows {
            Self::unpack(store, cols, row, &mut scratch.levels, &mut scratch.scales);
            for t in 0..tokens {
                out[t * rows + row] = dot(&scratch.levels, &scratch.scales, &scratch.x, t);
            }
        }
    }
}

/// One row times token `t`.
fn dot(levels: &[i16], scales: &[f32], x: &Activations, t: usize) -> f32 {
    let xs = x.levels[t * levels.len()..].chunks_exact(BLOCK).zip(&x.scales[t * scales.len()..]);
    let mut sum = 0.0;
    for ((levels, scale), (x, x_scale)) in levels.chunks_exact(BLOCK).zip(scales).zip(xs) {
        let mut block = 0i32;
        for (level, x) in levels.iter().zip(x) {
            block += i32::from(*level) * i32::from(*x);
        }
        sum += (scale * x_scale) * block as f32;
    }
    sum
}

/// Rounds a block of activations; its scale, and the sum of its levels.
pub fn round(x: &[f32; BLOCK], levels: &mut [i16; BLOCK]) -> (f32, i32) {
    let max = x.iter().fold(0, |max, x| x.abs().to_bits().max(max));
    let (scale, inverse) = scale(max);
    if scale.is_nan() {
        levels.fill(0);
        return (scale, 0);
    }
    let mut sum = 0;
    for (level, x) in levels.iter_mut().zip(x) {
        *level = (x * inverse + MAGIC).to_bits() as i16; // the integer stands in the low bits
        sum += i32::from(*level);
    }
    (scale, sum)
}
