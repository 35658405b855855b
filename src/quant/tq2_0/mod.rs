//! TQ2_0: 256 weights share one f16 scale; each is −1, 0 or 1 times it, in two bits.
//!
//! ```text
//! byte 0                                     64       66
//!      ┌─────────────────────────────────────┬────────┐
//!      │ levels: 2 bits each                 │ scale  │   weight i = scale · (qi − 1)
//!      │                                     │ f16 LE │
//!      └─────────────────────────────────────┴────────┘   2.0625 bits per weight
//!
//! In each half of 128 weights, 32 bytes: byte l = q[l] | q[l + 32] << 2 | q[l + 64] << 4 | q[l + 96] << 6
//! ```
//!
//! scale = max |w|; qi = round(wi · (1 / scale)) + 1, ties away from zero, with the scale before its rounding to f16.
//! Source: ggml `quantize_row_tq2_0_ref`, `dequantize_row_tq2_0` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

/// Weights per block.
pub const GROUP: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    pub levels: [u8; GROUP / 4],
    /// f16, little-endian.
    pub scale: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == 66 && align_of::<Block>() == 1);

super::block_scheme!(Tq2_0, "TQ2_0", 35);
