//! Q8_0: 32 weights share one f16 scale; each is a signed byte.
//!
//! ```text
//! byte   0    1   2    3          33
//!      ┌─────────┬────┬────┬─ ─ ─┬────┐
//!      │ scale   │ q0 │ q1 │     │q31 │   weight i = scale · qi
//!      │ f16 LE  │ i8 │ i8 │     │ i8 │
//!      └─────────┴────┴────┴─ ─ ─┴────┘   8.5 bits per weight
//! ```
//!
//! scale = max |w| / 127; qi = round(wi · (1 / scale)), ties away from zero, with the scale before its rounding to f16.
//! Source: ggml `quantize_row_q8_0_ref`, `dequantize_row_q8_0` (llama.cpp).

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
    pub levels: [i8; GROUP],
}

const _: () = assert!(size_of::<Block>() == 34 && align_of::<Block>() == 1);

pub struct Q8_0;

static SPEC: SchemeSpec = SchemeSpec {
    dtype: DType { name: "Q8_0", group: GROUP, group_bytes: size_of::<Block>() },
    ggml_type: Some(8),
    planes: &[Plane { name: "blocks", group_bytes: size_of::<Block>() }],
};

impl Scheme for Q8_0 {
    fn spec(&self) -> &'static SchemeSpec {
        &SPEC
    }

    fn quantize(
        &self,
        kernels: Kernels,
        rows: &[f32],
        cols: usize,
        _importance: Option<&[f32]>, // ggml's Q8_0 ignores it too
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
