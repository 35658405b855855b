//! Q5_K: 256 weights in eight sub-blocks of 32; each has a scale and a minimum of six bits, each weight five bits.
//!
//! ```text
//! byte 0        2         4                   16                48                 176
//!      ┌────────┬─────────┬───────────────────┬─────────────────┬──────────────────┐
//!      │ scale  │ minimum │ 8 scales,         │ high: 1 bit     │ low: 4 bits each │   weight i =
//!      │ f16 LE │ f16 LE  │ 8 minimums, 6 bit │ each            │                  │     scale · s(i/32) · qi − minimum · m(i/32)
//!      └────────┴─────────┴───────────────────┴─────────────────┴──────────────────┘   5.5 bits per weight
//!
//! The low bits are in four groups of 64 weights, 32 bytes each: byte l = q[l] & 15 | (q[l + 32] & 15) << 4.
//! Bit s of high[l] is the fifth bit of weight 32 · s + l.
//! ```
//!
//! As Q4_K, with 31 levels and 17 tries. Source: ggml `quantize_row_q5_K_ref`, `quantize_row_q5_K_impl`,
//! `dequantize_row_q5_K` (llama.cpp). The six-bit scales: [`super::affine32`].

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
    pub high: [u8; GROUP / 8],
    pub low: [u8; GROUP / 2],
}

static KIND: Kind = Kind {
    tries: Tries { top: 31, first: -0.5, step: 0.1, count: 16, absolute: false },
    tries_with_importance: Tries { top: 31, first: -0.9, step: 0.05, count: 37, absolute: false },
};

const _: () = assert!(size_of::<Block>() == 176 && align_of::<Block>() == 1);

super::block_scheme!(Q5K, "Q5_K", 13, either);
