//! TQ1_0: 256 weights share one f16 scale; each is −1, 0 or 1 times it, five of them a byte.
//!
//! ```text
//! byte 0                     32             48           52       54
//!      ┌─────────────────────┬──────────────┬────────────┬────────┐
//!      │ 5 trits each:       │ 5 each:      │ 4 each:    │ scale  │   weight i = scale · (qi − 1)
//!      │ q[l + 32·n]         │ q[160+l+16·n]│ q[240+l+4·n]│ f16 LE │
//!      └─────────────────────┴──────────────┴────────────┴────────┘   1.6875 bits per weight
//! ```
//!
//! A byte holds the digits t0 … t4 (t4 = 0 where it has four) of the ternary fraction 0.t0t1t2t3t4, in 256ths, rounded up:
//! multiplied by 3, its integer part is t0, and so on. scale = max |w|; qi = round(wi · (1 / scale)) + 1, ties away from
//! zero, with the scale before its rounding to f16. Source: ggml `quantize_row_tq1_0_ref`, `dequantize_row_tq1_0` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

/// Weights per block.
pub const GROUP: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    pub trits: [u8; 52],
    /// f16, little-endian.
    pub scale: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == 54 && align_of::<Block>() == 1);

/// `width` bytes, whose digit n has the weights from `weight + n · width` on.
pub(crate) struct Strip {
    pub byte: usize,
    pub weight: usize,
    pub width: usize,
    pub digits: usize,
}

pub(crate) const STRIPS: [Strip; 3] = [
    Strip { byte: 0, weight: 0, width: 32, digits: 5 },
    Strip { byte: 32, weight: 160, width: 16, digits: 5 },
    Strip { byte: 48, weight: 240, width: 4, digits: 4 },
];

super::block_scheme!(Tq1_0, "TQ1_0", 34);
