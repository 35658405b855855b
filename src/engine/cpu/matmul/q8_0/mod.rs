//! Q8_0 weights.

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use super::{Kernel, scalar::Rows};
use crate::quant::Kernels;

pub fn kernel(kernels: Kernels) -> Box<dyn Kernel> {
    match kernels {
        Kernels::Scalar => Box::new(Rows(scalar::Weights)),
        #[cfg(target_feature = "simd128")]
        Kernels::Simd128 => super::simd128::Tiles::<simd128::Weights>::kernel(),
    }
}
