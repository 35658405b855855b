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
//! one level that has no counterpart of the other sign. With importance, the scale is searched: 19 tries around −8 / m, errors
//! counting by importance · √(the row's mean square + w²). Source: ggml `quantize_q4_0`, `quantize_row_q4_0_ref`,
//! `dequantize_row_q4_0` (llama.cpp).

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
    /// Level i in the low, level i + 16 in the high half of byte i.
    pub levels: [u8; GROUP / 2],
}

const _: () = assert!(size_of::<Block>() == 18 && align_of::<Block>() == 1);

super::block_scheme!(Q4_0, "Q4_0", 2, weighted);
