//! Activations, rounded to 15 bits with a scale for each block of 32.

use super::BLOCK;
use crate::quant::Kernels;

/// The largest level: 32 products with weights of up to ±4096 (Q6_K: six bits times a signed byte) stay within 32 bits.
pub const MAX: f32 = 16383.0;
/// 1.5 · 2^23: in this binade the last bit weighs 1, so adding it rounds to the nearest integer, ties to even.
pub const MAGIC: f32 = 12_582_912.0;
/// Magnitudes from these bits on are infinite or no number.
pub const INFINITY: u32 = 0x7f80_0000;

/// `[tokens, cols]`.
#[derive(Default)]
pub struct Activations {
    pub levels: Vec<i16>,
    /// Per block.
    pub scales: Vec<f32>,
    /// Sums of the levels of each half of a block.
    pub sums: Vec<[i32; 2]>,
}

impl Activations {
    /// `level = x · (MAX / max|x|)`, rounded to nearest, ties to even. A NaN or infinity makes its whole block NaN.
    pub fn round(&mut self, kernels: Kernels, x: &[f32]) {
        self.levels.resize(x.len(), 0);
        self.scales.resize(x.len() / BLOCK, 0.0);
        self.sums.resize(x.len() / BLOCK, [0; 2]);
        let blocks = x.as_chunks().0.iter().zip(self.levels.as_chunks_mut().0);
        for (((x, levels), scale), sum) in blocks.zip(&mut self.scales).zip(&mut self.sums) {
            (*scale, *sum) = match kernels {
                Kernels::Scalar => super::scalar::round(x, levels),
                #[cfg(target_feature = "simd128")]
                Kernels::Simd128 => super::simd128::round(x, levels),
            };
        }
    }
}

/// The scale, and what to multiply by, for a block whose largest magnitude has these bits.
#[inline(always)]
pub fn scale(max: u32) -> (f32, f32) {
    let max = f32::from_bits(max);
    match max {
        0.0 => (0.0, 0.0),
        max if max < f32::INFINITY => (max / MAX, MAX / max),
        _ => (f32::NAN, 0.0),
    }
}
