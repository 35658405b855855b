//! Weights times activations.
//!
//! Two families. F32, F16, BF16 and every scheme without a line in [`TABLE`]: a row is widened to f32 by its scheme and
//! multiplied in f32 ([`float`]). Schemes of levels ([`crate::engine::levels`]): activations are rounded to 15 bits per
//! block of 32, the sums within a block are exact integers, and each block's sum is scaled and added in f32, block after
//! block. Scalar, rows are unpacked as they stand in the file; on vectors, they are repacked when they arrive, into one of
//! few forms ([`forms`]) that serve all types.

pub mod activations;
pub mod float;
#[cfg(target_feature = "simd128")]
pub mod forms;
#[cfg(target_feature = "simd128")]
pub mod panel;
pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use crate::bail;
use crate::engine::levels::{self, Levels};
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
    /// A row of weights, unpacked.
    pub row: scalar::Row,
    pub floats: Vec<f32>,
    #[cfg(target_feature = "simd128")]
    pub panel: panel::Panel,
    /// Attention's scores.
    pub scores: Vec<f32>,
}

fn integer<T: Levels>(kernels: Kernels) -> Box<dyn Kernel> {
    match kernels {
        Kernels::Scalar => scalar::Rows::<T>::kernel(),
        #[cfg(target_feature = "simd128")]
        Kernels::Simd128 => simd128::Tiles::<T>::kernel(),
    }
}

type Make = fn(Kernels) -> Box<dyn Kernel>;

/// Schemes that are multiplied in integers.
static TABLE: &[(&str, Make)] = &[
    ("Q4_0", integer::<levels::Q4_0>),
    ("Q4_1", integer::<levels::Q4_1>),
    ("Q5_0", integer::<levels::Q5_0>),
    ("Q5_1", integer::<levels::Q5_1>),
    ("Q8_0", integer::<levels::Q8_0>),
    ("Q2_K", integer::<levels::Q2K>),
    ("Q3_K", integer::<levels::Q3K>),
    ("Q4_K", integer::<levels::Q4K>),
    ("Q5_K", integer::<levels::Q5K>),
    ("Q6_K", integer::<levels::Q6K>),
    ("IQ4_NL", integer::<levels::Iq4Nl>),
    ("IQ4_XS", integer::<levels::Iq4Xs>),
    ("TQ1_0", integer::<levels::Tq1_0>),
    ("TQ2_0", integer::<levels::Tq2_0>),
    ("MXFP4", integer::<levels::Mxfp4>),
];

/// The kernel for weights of that type; `Unsupported` where there is no such scheme.
pub fn kernel(dtype: DType, kernels: Kernels) -> Result<Box<dyn Kernel>> {
    if let Some((_, make)) = TABLE.iter().find(|(name, _)| *name == dtype.name) {
        return Ok(make(kernels));
    }
    match quant::by_name(dtype.name) {
        Some(scheme) => Ok(float::Float::kernel(scheme, kernels)),
        None => bail!(Unsupported, "no kernel multiplies {} weights", dtype.name),
    }
}
