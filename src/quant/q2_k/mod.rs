//! Q2_K: 256 weights in 16 sub-blocks of 16; each has a scale and a minimum of four bits, each weight two bits.
//!
//! ```text
//! byte 0                     16                  80       82        84
//!      ┌─────────────────────┬───────────────────┬────────┬─────────┐
//!      │ 16 × scale (low),   │ levels:           │ scale  │ minimum │   weight i =
//!      │ minimum (high half) │ 2 bits each       │ f16 LE │ f16 LE  │     scale · s(i/16) · qi − minimum · m(i/16)
//!      └─────────────────────┴───────────────────┴────────┴─────────┘   2.625 bits per weight
//!
//! The levels are in two halves of 128 weights, 32 bytes each:
//!   byte l = q[l] | q[l + 32] << 2 | q[l + 64] << 4 | q[l + 96] << 6
//! ```
//!
//! Each sub-block tries 17 spreads of three levels over its range and keeps the one with the least Σ |w|·|error| (with an
//! importance matrix: 38 spreads, Σ importance · √(mean w² + w²) · error²); the levels are computed anew with the stored
//! scales, ties to even. Source: ggml `quantize_row_q2_K_ref`, `quantize_row_q2_K_impl`, `dequantize_row_q2_K` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use super::search::Tries;
pub use super::super_block::GROUP;
use super::{Kernels, Plane, Scheme, SchemeSpec, blocks, blocks_mut, check_shape, dispatch, super_block};
use crate::error::Result;
use crate::tensor::DType;

/// Weights per sub-block.
pub const SUB: usize = 16;
/// Sub-blocks.
pub const SUBS: usize = GROUP / SUB;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    pub scales: [u8; SUBS],
    pub levels: [u8; GROUP / 4],
    /// f16, little-endian.
    pub scale: [u8; 2],
    /// f16, little-endian.
    pub min: [u8; 2],
}

static TRIES: Tries = Tries { top: 3, first: -0.5, step: 0.1, count: 16, absolute: true };
static TRIES_WITH_IMPORTANCE: Tries = Tries { top: 3, first: -0.9, step: 0.05, count: 37, absolute: false };

const _: () = assert!(size_of::<Block>() == 84 && align_of::<Block>() == 1);

pub struct Q2K;

static SPEC: SchemeSpec = SchemeSpec {
    dtype: DType { name: "Q2_K", group: GROUP, group_bytes: size_of::<Block>() },
    ggml_type: Some(10),
    planes: &[Plane { name: "blocks", group_bytes: size_of::<Block>() }],
};

impl Scheme for Q2K {
    fn spec(&self) -> &'static SchemeSpec {
        &SPEC
    }

    fn quantize(
        &self,
        kernels: Kernels,
        rows: &[f32],
        cols: usize,
        importance: Option<&[f32]>,
        planes: &mut [&mut [u8]],
    ) -> Result<()> {
        super_block::check(&SPEC, rows.len(), cols, importance);
        let blocks: &mut [Block] = blocks_mut(&SPEC, rows.len(), planes);
        dispatch!(kernels, quantize(rows, importance, blocks)).map_err(|fault| fault.into_error(&SPEC, rows, cols))
    }

    fn dequantize(&self, kernels: Kernels, planes: &[&[u8]], cols: usize, rows: &mut [f32]) {
        check_shape(&SPEC, rows.len(), cols);
        dispatch!(kernels, dequantize(blocks(&SPEC, rows.len(), planes), rows));
    }
}
