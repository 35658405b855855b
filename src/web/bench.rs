//! What `cargo xtask bench` measures alone: a scheme's kernel, without streams, copies and measured errors.

use super::{Result, bad_option, dtype, room, thrown};
use crate::quant::{self, Kernels, Scheme};
use crate::tensor::DType;
use wasm_bindgen::prelude::*;

/// Rows of f32 that stay in the wasm's memory, and what a scheme makes of them.
#[wasm_bindgen]
pub struct KernelBench {
    scheme: &'static dyn Scheme,
    cols: usize,
    rows: Vec<f32>,
    out: Vec<u8>,
}

#[wasm_bindgen]
impl KernelBench {
    #[wasm_bindgen(constructor)]
    pub fn new(scheme: &str, cols: usize, rows: Vec<f32>) -> Result<KernelBench> {
        let to = dtype(scheme)?;
        let scheme = quant::by_name(to.name).ok_or_else(|| bad_option("it is no scheme"))?;
        let out = room(DType::F32, to, cols, 4 * rows.len())?;
        Ok(Self { scheme, cols, rows, out })
    }

    /// Quantizes all rows once.
    pub fn run(&mut self) -> Result<()> {
        let planes = &mut [&mut self.out[..]];
        self.scheme.quantize(Kernels::best(), &self.rows, self.cols, None, planes).map_err(thrown)
    }

    /// What the latest run wrote.
    pub fn bytes(&self) -> Vec<u8> {
        self.out.clone()
    }
}
