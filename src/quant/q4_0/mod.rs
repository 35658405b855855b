//! Q4_0: 32 weights share one f16 scale; each is four bits, 8 meaning zero.
//!
//! ```text
//! byte   0    1   2           3                    17
//!      ┌─────────┬───────────┬───────────┬─ ─ ─┬───────────┐
//!      │ scale   │ q16 │ q0  │ q17 │ q1  │     │ q31 │ q15 │   weight i = scale · (qi − 8)
//!      │ f16 LE  │ high│ low │ high│ low │     │ high│ low │
//!      └─────────┴───────────┴───────────┴─ ─ ─┴───────────┘   4.5 bits per weight
//! ```
//!
//! scale = m / −8, m being the weight of largest magnitude with its sign (the first of them);
//! qi = min(15, trunc(wi · (1 / scale) + 8.5)), with the scale before its rounding to f16. So m itself becomes level 0, the
//! one level that has no counterpart of the other sign. Source: ggml `quantize_row_q4_0_ref`, `dequantize_row_q4_0` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use super::{Kernels, Plane, Scheme, SchemeSpec, blocks, blocks_mut, check_shape, dispatch};
use crate::error::Result;
use crate::tensor::DType;

/// Weights per block.
pub const GROUP: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    /// f16, little-endian.
    pub scale: [u8; 2],
    /// Level i in the low, level i + 16 in the high half of byte i.
    pub levels: [u8; GROUP / 2],
}

const _: () = assert!(size_of::<Block>() == 18 && align_of::<Block>() == 1);

pub struct Q4_0;

static SPEC: SchemeSpec = SchemeSpec {
    dtype: DType { name: "Q4_0", group: GROUP, group_bytes: size_of::<Block>() },
    ggml_type: Some(2),
    planes: &[Plane { name: "blocks", group_bytes: size_of::<Block>() }],
};

impl Scheme for Q4_0 {
    fn spec(&self) -> &'static SchemeSpec {
        &SPEC
    }

    fn quantize(
        &self,
        kernels: Kernels,
        rows: &[f32],
        cols: usize,
        _importance: Option<&[f32]>,
        planes: &mut [&mut [u8]],
    ) -> Result<()> {
        check_shape(&SPEC, rows.len(), cols);
        let blocks: &mut [Block] = blocks_mut(&SPEC, rows.len(), planes);
        dispatch!(kernels, quantize(rows, blocks)).map_err(|fault| fault.into_error(&SPEC, rows, cols))
    }

    fn dequantize(&self, kernels: Kernels, planes: &[&[u8]], cols: usize, rows: &mut [f32]) {
        check_shape(&SPEC, rows.len(), cols);
        dispatch!(kernels, dequantize(blocks(&SPEC, rows.len(), planes), rows));
    }
}
