//! Q4_K: 256 weights in eight sub-blocks of 32; each has a scale and a minimum of six bits, each weight four bits.
//!
//! ```text
//! byte 0        2         4                   16                 144
//!      ┌────────┬─────────┬───────────────────┬──────────────────┐
//!      │ scale  │ minimum │ 8 scales,         │ levels:          │   weight i = scale · s(i/32) · qi − minimum · m(i/32)
//!      │ f16 LE │ f16 LE  │ 8 minimums, 6 bit │ 4 bits each      │
//!      └────────┴─────────┴───────────────────┴──────────────────┘   4.5 bits per weight
//!
//! The levels are in four groups of 64 weights, 32 bytes each: byte l = q[l] | q[l + 32] << 4.
//! ```
//!
//! Each sub-block tries 22 spreads of 15 levels over its range and keeps the one of least weighted error; the levels are
//! computed anew with the stored scales, ties to even. Source: ggml `quantize_row_q4_K_ref`, `quantize_row_q4_K_impl`,
//! `dequantize_row_q4_K` (llama.cpp). The six-bit scales: [`super::affine32`].

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use super::affine32::{Head, Kind};
use super::search::Tries;
pub use super::super_block::GROUP;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    pub head: Head,
    pub levels: [u8; GROUP / 2],
}

static KIND: Kind = Kind {
    tries: Tries { top: 15, first: -1.0, step: 0.1, count: 21, absolute: false },
    tries_with_importance: Tries { top: 15, first: -0.9, step: 0.05, count: 37, absolute: false },
};

const _: () = assert!(size_of::<Block>() == 144 && align_of::<Block>() == 1);

super::block_scheme!(Q4K, "Q4_K", 12, either);
