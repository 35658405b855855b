//! IQ4_NL: 32 weights share one f16 scale; each is one of 16 values that lie closer together near zero.
//!
//! ```text
//! byte   0    1   2           3                    17
//!      ┌─────────┬───────────┬───────────┬─ ─ ─┬───────────┐
//!      │ scale   │ q16 │ q0  │ q17 │ q1  │     │ q31 │ q15 │   weight i = scale · VALUES[qi]
//!      │ f16 LE  │ high│ low │ high│ low │     │ high│ low │
//!      └─────────┴───────────┴───────────┴─ ─ ─┴───────────┘   4.5 bits per weight
//! ```
//!
//! 16 scales are tried around −m / VALUES[0] (m: the weight of largest magnitude), and for the levels that each gives, the
//! scale with the least error weighted by w², or by importance · √(2 · the group's mean square + w²); the levels follow from the best scale before its rounding to f16.
//! Source: ggml `quantize_iq4_nl` with seven tries a side (not `quantize_row_iq4_nl_ref`, which tries none),
//! `dequantize_row_iq4_nl` (llama.cpp).

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

/// What the levels stand for.
pub const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

super::block_scheme!(Iq4Nl, "IQ4_NL", 20, weighted);
