//! Weights times activations.
//!
//! Two families. F32, F16, BF16 and every scheme without kernels of its own: a row is widened to f32 by its scheme and
//! multiplied in f32 ([`float`]). Schemes with a folder here: activations are rounded to 15 bits per block of 32, the sums
//! within a block are exact integers, and each block's sum is scaled and added in f32, block after block. A new scheme
//! works through `float`; it becomes fast by a folder and a line in [`TABLE`].

pub mod activations;
pub mod float;
pub mod q4_0;
pub mod q6_k;
pub mod q8_0;
pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use crate::bail;
use crate::error::Result;
use crate::quant::{self, Kernels};
use crate::tensor::DType;
use activations::Activations;

/// Weights per block of activations.
pub const BLOCK: usize = 32;

/// How the rows of a matrix are kept, and multiplied. A kernel may keep `tile` rows together; `store` is what it has
/// written by `put`.
pub trait Kernel {
    /// Rows that are kept together: the store is as long as a multiple of it.
    fn tile(&self) -> usize;

    /// Bytes of one row in the store.
    fn row_bytes(&self, cols: usize) -> usize;

    /// Takes row `row`, as it stands in a file.
    fn put(&self, store: &mut [u8], cols: usize, row: usize, bytes: &[u8]);

    /// Row `row` in f32, `cols` of them.
    fn row(&self, store: &[u8], cols: usize, row: usize, out: &mut [f32], scratch: &mut Scratch);

    /// `out[t, r] = Σ_c weights[r, c] · x[t, c]`; `x`: `[tokens, cols]`, `out`: `[tokens, rows]`.
    fn matmul(&self, store: &[u8], cols: usize, x: &[f32], out: &mut [f32], scratch: &mut Scratch);
}

/// Memory for a moment; contents mean nothing between calls.
#[derive(Default)]
pub struct Scratch {
    /// Rounded activations.
    pub x: Activations,
    /// Weights, unpacked: levels and a scale per block, or f32.
    pub levels: Vec<i16>,
    pub scales: Vec<f32>,
    pub floats: Vec<f32>,
    #[cfg(target_feature = "simd128")]
    pub panel: simd128::Panel,
    /// Attention's scores.
    pub scores: Vec<f32>,
}

type Make = fn(Kernels) -> Box<dyn Kernel>;

/// Schemes with integer kernels.
static TABLE: &[(&str, Make)] = &[("Q8_0", q8_0::kernel), ("Q4_0", q4_0::kernel), ("Q6_K", q6_k::kernel)];

/// The kernel for weights of that type; `Unsupported` where there is no such scheme.
pub fn kernel(dtype: DType, kernels: Kernels) -> Result<Box<dyn Kernel>> {
    if let Some((_, make)) = TABLE.iter().find(|(name, _)| *name == dtype.name) {
        return Ok(make(kernels));
    }
    match quant::by_name(dtype.name) {
        Some(scheme) => Ok(Box::new(float::Float { scheme, kernels })),
        None => bail!(Unsupported, "no kernel multiplies {} weights", dtype.name),
    }
}
