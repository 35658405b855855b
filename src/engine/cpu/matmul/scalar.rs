//! The definition of integer matrix products: rows as they stand in the file, unpacked one at a time.

use super::activations::{Activations, MAGIC, scale};
use super::{BLOCK, Kernel, Scratch};
use crate::engine::levels::{LEAST, Levels, Parts};
use crate::quant::Kernels;
use std::marker::PhantomData;

/// A row, unpacked: weight c is `levels[c] · scales[c / 32] + mins[c / 16]`. A sub-block's scale is an integer, so it goes
/// into the levels, which are within ±4096 (six bits times a signed byte).
#[derive(Default)]
pub struct Row {
    levels: Vec<i16>,
    scales: Vec<f32>,
    /// Exact: eleven bits of an f16 times eight. Empty where the type has none.
    mins: Vec<f32>,
}

pub struct Rows<T>(PhantomData<T>);

impl<T: Levels> Rows<T> {
    pub fn kernel() -> Box<dyn Kernel> {
        Box::new(Self(PhantomData))
    }

    fn unpack<'a>(&self, store: &[u8], cols: usize, row: usize, into: &'a mut Row) -> &'a Row {
        let spec = T::SPEC;
        into.levels.resize(cols, 0);
        into.scales.resize(cols / BLOCK, 0.0);
        into.mins.resize(if spec.mins { cols / LEAST } else { 0 }, 0.0);
        let row_bytes = self.row_bytes(cols);
        let blocks = store[row * row_bytes..][..row_bytes].chunks_exact(spec.bytes);
        let mut parts = Parts::NEW;
        for (n, block) in blocks.enumerate() {
            T::split(block, &mut parts);
            let (first, scale) = (n * spec.cols, spec.half.value(parts.scale));
            into.scales[first / BLOCK..][..spec.cols / BLOCK].fill(scale);
            let sub = if spec.sub == 0 { spec.cols } else { spec.sub };
            let runs = into.levels[first..][..spec.cols].chunks_exact_mut(sub).zip(parts.levels.chunks_exact(sub));
            for ((out, levels), factor) in runs.zip(parts.subs) {
                for (out, level) in out.iter_mut().zip(levels) {
                    *out = spec.value(*level) * i16::from(factor);
                }
            }
            if spec.mins {
                let min = spec.half.value(parts.min);
                for (out, factor) in into.mins[first / LEAST..].chunks_exact_mut(sub / LEAST).zip(parts.mins) {
                    out.fill(min * f32::from(factor));
                }
            }
        }
        into
    }

    /// One row times token `t`.
    fn dot(row: &Row, x: &Activations, t: usize) -> f32 {
        let spec = T::SPEC;
        let blocks = row.scales.len();
        let levels = x.levels[t * row.levels.len()..].chunks_exact(BLOCK);
        let xs = levels.zip(&x.scales[t * blocks..]).zip(&x.sums[t * blocks..]);
        let mut sum = 0.0;
        for (n, ((levels, scale), ((x, x_scale), x_sums))) in
            row.levels.chunks_exact(BLOCK).zip(&row.scales).zip(xs).enumerate()
        {
            let mut block = 0i32;
            for (level, x) in levels.iter().zip(x) {
                block += i32::from(*level) * i32::from(*x);
            }
            sum += (scale * x_scale) * block as f32;
            if spec.mins && spec.sub == LEAST {
                sum += row.mins[2 * n] * (x_scale * x_sums[0] as f32);
                sum += row.mins[2 * n + 1] * (x_scale * x_sums[1] as f32);
            } else if spec.mins {
                sum += row.mins[2 * n] * (x_scale * (x_sums[0] + x_sums[1]) as f32);
            }
        }
        sum
    }
}

impl<T: Levels> Kernel for Rows<T> {
    fn tile(&self) -> usize {
        1
    }

    fn row_bytes(&self, cols: usize) -> usize {
        cols / T::SPEC.cols * T::SPEC.bytes
    }

    fn put(&self, store: &mut [u8], cols: usize, row: usize, bytes: &[u8]) {
        let row_bytes = self.row_bytes(cols);
        store[row * row_bytes..][..row_bytes].copy_from_slice(bytes);
    }

    fn row(&self, store: &[u8], cols: usize, row: usize, out: &mut [f32], scratch: &mut Scratch) {
        let row = self.unpack(store, cols, row, &mut scratch.row);
        for (n, (out, levels)) in out.chunks_exact_mut(LEAST).zip(row.levels.chunks_exact(LEAST)).enumerate() {
            let (scale, min) = (row.scales[n * LEAST / BLOCK], row.mins.get(n).copied().unwrap_or(0.0));
            for (out, level) in out.iter_mut().zip(levels) {
                *out = scale * f32::from(*level) + min;
            }
        }
    }

    fn matmul(&self, store: &[u8], cols: usize, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let tokens = x.len() / cols;
        let rows = out.len() / tokens;
        scratch.x.round(Kernels::Scalar, x);
        for row in 0..rows {
            let unpacked = self.unpack(store, cols, row, &mut scratch.row);
            for t in 0..tokens {
                out[t * rows + row] = Self::dot(unpacked, &scratch.x, t);
            }
        }
    }
}

/// Rounds a block of activations; its scale, and the sums of its halves' levels.
pub fn round(x: &[f32; BLOCK], levels: &mut [i16; BLOCK]) -> (f32, [i32; 2]) {
    let max = x.iter().fold(0, |max, x| x.abs().to_bits().max(max));
    let (scale, inverse) = scale(max);
    if scale.is_nan() {
        levels.fill(0);
        return (scale, [0; 2]);
    }
    for (level, x) in levels.iter_mut().zip(x) {
        *level = (x * inverse + MAGIC).to_bits() as i16; // the integer stands in the low bits
    }
    let sum = |half: &[i16]| half.iter().map(|level| i32::from(*level)).sum();
    (scale, [sum(&levels[..LEAST]), sum(&levels[LEAST..])])
}
