//! `q8_0` weights.

pub mod scalar;

use super::{Kernel, scalar::Rows};
use crate::quant::Kernels;

pub fn kernel(_kernels: Kernels) -> Box<dyn Kernel> {
    Box::new(Rows(scalar::Weights))
}
