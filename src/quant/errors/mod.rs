//! How far converted weights are from their originals.

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use super::{Kernels, dispatch};

/// Sums over pairs of weights; sums of pieces add up, maxima combine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Errors {
    /// Σ (original − converted)².
    pub squared: f64,
    /// Σ original².
    pub original_squared: f64,
    /// max |original − converted|.
    pub max: f32,
}

impl std::ops::AddAssign for Errors {
    fn add_assign(&mut self, other: Errors) {
        self.squared += other.squared;
        self.original_squared += other.original_squared;
        self.max = self.max.max(other.max);
    }
}

/// Weights whose squares are added in f32, in four lanes, before f64 takes over: eight roundings at most, so that sums
/// are right to 1e-6 of their size.
const STRIP: usize = 32;

/// Compares weights, finite ones, pair by pair; the result does not depend on `kernels`. Panics unless both slices have
/// one length.
pub fn error_sums(kernels: Kernels, original: &[f32], converted: &[f32]) -> Errors {
    assert_eq!(original.len(), converted.len());
    let errors = dispatch!(kernels, strips(original, converted));
    // Squares in f32 overflow past 1e19 and vanish under 1e-22: such tensors (and all-zero ones) take the slow way.
    let in_range = errors.original_squared > 1e-30 && errors.original_squared + errors.squared < f64::INFINITY;
    if in_range { errors } else { scalar::in_f64(original, converted) }
}
