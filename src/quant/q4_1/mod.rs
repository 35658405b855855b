//! Q4_1: 32 weights share an f16 scale and an f16 offset; each is four bits.
//!
//! ```text
//! byte   0    1    2    3   4           5                    19
//!      ┌─────────┬─────────┬───────────┬───────────┬─ ─ ─┬───────────┐
//!      │ scale   │ offset  │ q16 │ q0  │ q17 │ q1  │     │ q31 │ q15 │   weight i = scale · qi + offset
//!      │ f16 LE  │ f16 LE  │ high│ low │ high│ low │     │ high│ low │
//!      └─────────┴─────────┴───────────┴───────────┴─ ─ ─┴───────────┘   5 bits per weight
//! ```
//!
//! offset = the least weight; scale = (greatest − least) / 15; qi = min(15, trunc((wi − least) · (1 / scale) + 0.5)), with
//! scale and least weight before their rounding to f16. With importance, scale and offset (never above 0) are searched in 37
//! tries, errors counting by importance · √(the row's mean square + w²). Source: ggml `quantize_q4_1`,
//! `quantize_row_q4_1_ref`, `dequantize_row_q4_1` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

/// Weights per block.
pub const GROUP: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    /// f16, little-endian.
    pub scale: [u8; 2],
    /// f16, little-endian.
    pub offset: [u8; 2],
    /// Level i in the low, level i + 16 in the high half of byte i.
    pub levels: [u8; GROUP / 2],
}

const _: () = assert!(size_of::<Block>() == 20 && align_of::<Block>() == 1);

super::block_scheme!(Q4_1, "Q4_1", 3, weighted);
