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

super::block_scheme!(Q2K, "Q2_K", 10, either);
