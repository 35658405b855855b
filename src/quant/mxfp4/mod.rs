//! MXFP4: 32 weights share a power of two; each is a float of four bits.
//!
//! ```text
//! byte   0       1           2                    16
//!      ┌───────┬───────────┬───────────┬─ ─ ─┬───────────┐
//!      │ e     │ q16 │ q0  │ q17 │ q1  │     │ q31 │ q15 │   weight i = 2^(e − 128) · VALUES[qi]
//!      │ E8M0  │ high│ low │ high│ low │     │ high│ low │
//!      └───────┴───────────┴───────────┴─ ─ ─┴───────────┘   4.25 bits per weight
//! ```
//!
//! qi is an E2M1 float (sign, two bits of exponent, one of fraction); VALUES has twice its value, so the scale is half of
//! E8M0's 2^(e − 127). e = ⌊log2 max |w|⌋ + 125, or 0 where all weights are ±0, log2 being rounded to f32 before the floor;
//! qi is the value nearest to wi, the first one in VALUES' order where two are equally near. A maximum under 2^-125 makes e
//! negative: C leaves its conversion to a byte undefined, ggml on x86-64 keeps the low eight bits, and all levels are 0.
//! Source: OCP Microscaling Formats 1.0; ggml `quantize_row_mxfp4_ref`, `dequantize_row_mxfp4` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

/// Weights per block.
pub const GROUP: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    pub exponent: u8,
    /// Level i in the low, level i + 16 in the high half of byte i.
    pub levels: [u8; GROUP / 2],
}

const _: () = assert!(size_of::<Block>() == 17 && align_of::<Block>() == 1);

/// Twice the value of each E2M1 float.
pub const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

super::block_scheme!(Mxfp4, "MXFP4", 39);
