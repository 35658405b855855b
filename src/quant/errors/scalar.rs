//! The definition of the error sums: the order of the additions.

use super::{Errors, STRIP};

/// Strips of 32: squares in f32, weight i in lane i mod 4; then lanes 0 + 2 and 1 + 3 in f64. The rest wholly in f64.
pub(super) fn strips(original: &[f32], converted: &[f32]) -> Errors {
    let (a_strips, a_rest) = original.as_chunks::<STRIP>();
    let (b_strips, b_rest) = converted.as_chunks::<STRIP>();
    let (mut squared, mut original_squared, mut max) = ([0f64; 2], [0f64; 2], [0f32; 4]);
    for (a, b) in a_strips.iter().zip(b_strips) {
        let (mut strip_squared, mut strip_original) = ([0f32; 4], [0f32; 4]);
        for (a, b) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0) {
            for lane in 0..4 {
                let error = a[lane] - b[lane];
                strip_squared[lane] += error * error;
                strip_original[lane] += a[lane] * a[lane];
                max[lane] = max[lane].max(error.abs());
            }
        }
        for lane in 0..2 {
            squared[lane] += f64::from(strip_squared[lane]) + f64::from(strip_squared[lane + 2]);
            original_squared[lane] += f64::from(strip_original[lane]) + f64::from(strip_original[lane + 2]);
        }
    }
    let mut errors = Errors {
        squared: squared[0] + squared[1],
        original_squared: original_squared[0] + original_squared[1],
        max: max.into_iter().fold(0.0, f32::max),
    };
    errors += in_f64(a_rest, b_rest);
    errors
}

/// The same in f64 throughout, for magnitudes whose squares leave f32's range.
pub(super) fn in_f64(original: &[f32], converted: &[f32]) -> Errors {
    let mut errors = Errors::default();
    for (&a, &b) in original.iter().zip(converted) {
        let error = f64::from(a) - f64::from(b);
        errors.squared += error * error;
        errors.original_squared += f64::from(a) * f64::from(a);
        errors.max = errors.max.max((a - b).abs());
    }
    errors
}
