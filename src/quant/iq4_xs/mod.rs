//! IQ4_XS: 256 weights in eight sub-blocks of 32, each with a six-bit scale, and one f16 scale for those; each weight is one
//! of IQ4_NL's 16 values.
//!
//! ```text
//! byte   0    1    2    3    4        8                     136
//!      ┌─────────┬─────────┬────────┬───────────────────────┐
//!      │ scale   │ high    │ low    │ levels: 8 × 16 bytes, │   weight i = scale · (si − 32) · VALUES[qi]
//!      │ f16 LE  │ u16 LE  │ 8 × 4  │ each as IQ4_NL's      │
//!      └─────────┴─────────┴────────┴───────────────────────┘   4.25 bits per weight
//! ```
//!
//! The scale of sub-block b: its low four bits in the low (b even) or high half (b odd) of low[b / 2], the other two in bits
//! 2b and 2b + 1 of `high`. Each sub-block is searched as an IQ4_NL block (with importance: the block's mean square); scale = −m / 32, m being the found scale of
//! largest magnitude; s = round(found / scale) + 32, and the levels follow anew from scale · (s − 32), with the scale
//! before its rounding to f16. Source: ggml `quantize_iq4_xs`, `dequantize_row_iq4_xs` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

/// Weights per block (ggml: super-block).
pub const GROUP: usize = 256;
/// Weights per sub-block.
pub const SUB: usize = 32;
/// Sub-blocks.
pub const SUBS: usize = GROUP / SUB;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    /// f16, little-endian.
    pub scale: [u8; 2],
    pub high: [u8; 2],
    pub low: [u8; SUBS / 2],
    pub levels: [[u8; SUB / 2]; SUBS],
}

const _: () = assert!(size_of::<Block>() == 136 && align_of::<Block>() == 1);

super::block_scheme!(Iq4Xs, "IQ4_XS", 23, weighted);
