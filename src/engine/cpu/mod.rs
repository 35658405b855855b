//! The CPU backend: scalar (the reference) and SIMD128.

use crate::quant::Kernels;

pub struct Cpu {
    pub kernels: Kernels,
}
