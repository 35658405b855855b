//! Q6_K: 256 weights in 16 sub-blocks of 16; a signed byte scales each sub-block, one f16 scales those bytes.
//!
//! ```text
//! byte 0                     128               192               208      210
//!      ┌─────────────────────┬─────────────────┬─────────────────┬────────┐
//!      │ low: 4 bits each    │ high: 2 bits    │ scales: 16 × i8 │ scale  │   weight i = scale · scales[i/16] · (qi − 32)
//!      │                     │ each            │                 │ f16 LE │
//!      └─────────────────────┴─────────────────┴─────────────────┴────────┘   6.5625 bits per weight
//!
//! The block has two halves of 128 weights, each with 64 bytes of `low` and 32 of `high`. In a half, for l = 0 … 31:
//!   low[l]      = q[l]      & 15 | (q[l + 64] & 15) << 4
//!   low[l + 32] = q[l + 32] & 15 | (q[l + 96] & 15) << 4
//!   high[l]     = q[l] >> 4 | (q[l + 32] >> 4) << 2 | (q[l + 64] >> 4) << 4 | (q[l + 96] >> 4) << 6
//! ```
//!
//! Each sub-block tries 19 scales around −32 / m (m: the weight of largest magnitude) and keeps the one with the least
//! error weighted by w² (or by importance); the levels are then computed anew with the stored scales, rounding ties to even.
//! Source: ggml `quantize_row_q6_K_ref`, `quantize_row_q6_K_impl`, `make_qx_quants`, `dequantize_row_q6_K` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

pub use super::super_block::GROUP;

/// Weights per sub-block.
pub const SUB: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    pub low: [u8; GROUP / 2],
    pub high: [u8; GROUP / 4],
    pub scales: [i8; GROUP / SUB],
    /// f16, little-endian.
    pub scale: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == 210 && align_of::<Block>() == 1);

super::block_scheme!(Q6K, "Q6_K", 14, either);
