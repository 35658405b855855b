//! Q5_0: 32 weights share one f16 scale; each is five bits, 16 meaning zero.
//!
//! ```text
//! byte   0    1    2   …   5   6           7                    21
//!      ┌─────────┬───────────┬───────────┬───────────┬─ ─ ─┬───────────┐
//!      │ scale   │ fifth     │ q16 │ q0  │ q17 │ q1  │     │ q31 │ q15 │   weight i = scale · (qi − 16)
//!      │ f16 LE  │ u32 LE    │ high│ low │ high│ low │     │ high│ low │
//!      └─────────┴───────────┴───────────┴───────────┴─ ─ ─┴───────────┘   5.5 bits per weight
//! ```
//!
//! Bit i of `fifth` is the highest bit of qi. scale = m / −16, m being the weight of largest magnitude with its sign (the
//! first of them); qi = min(31, trunc(wi · (1 / scale) + 16.5)), with the scale before its rounding to f16.
//! With importance, the scale is searched: 19 tries around −16 / m, errors counting by importance · √(the row's mean
//! square + w²). Source: ggml `quantize_q5_0`, `quantize_row_q5_0_ref`, `dequantize_row_q5_0` (llama.cpp).

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
    /// Bit i (little-endian): the fifth bit of level i.
    pub fifth: [u8; 4],
    /// The other bits: level i in the low, level i + 16 in the high half of byte i.
    pub levels: [u8; GROUP / 2],
}

const _: () = assert!(size_of::<Block>() == 22 && align_of::<Block>() == 1);

super::block_scheme!(Q5_0, "Q5_0", 6, weighted);
