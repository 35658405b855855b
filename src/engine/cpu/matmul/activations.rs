//! Activations, rounded to 15 bits with a scale for each block of 32.

use super::BLOCK;

/// The largest level: 32 products with weights of up to ±4096 (Q6_K: six bits times a signed byte) stay within 32 bits.
pub const MAX: f32 = 16383.0;

/// `[tokens, cols]`.
#[derive(Default)]
pub struct Activations {
    pub levels: Vec<i16>,
    /// Per block.
    pub scales: Vec<f32>,
    /// Sum of the block's levels.
    pub sums: Vec<i32>,
}

impl Activations {
    /// `level = x · (MAX / max|x|)`, rounded to nearest, ties to even. A NaN or infinity makes its whole block NaN.
    pub fn round(&mut self, x: &[f32]) {
        self.levels.resize(x.len(), 0);
        self.scales.resize(x.len() / BLOCK, 0.0);
        self.sums.resize(x.len() / BLOCK, 0);
        let blocks = x.chunks_exact(BLOCK).zip(self.levels.chunks_exact_mut(BLOCK));
        for (((x, levels), scale), sum) in blocks.zip(&mut self.scales).zip(&mut self.sums) {
            let mut max = [0.0f32; 8];
            for x in x.chunks_exact(8) {
                for i in 0..8 {
                    max[i] = if x[i].abs() > max[i] { x[i].abs() } else { max[i] };
                }
            }
            let max = max.into_iter().fold(0.0, f32::max);
            let poison = x.iter().map(|x| x * 0.0).sum::<f32>(); // 0, or NaN
            let inverse = if max > 0.0 { MAX / max } else { 0.0 };
            *scale = max / MAX + poison;
            *sum = 0;
            for (level, x) in levels.iter_mut().zip(x) {
                // In this binade the last bit weighs 1 and the low half of the bits is the integer.
                *level = (x * inverse + 12_582_912.0).to_bits() as i16;
                *sum += i32::from(*level);
            }
        }
    }
}
