//! Q8_0: 32 weights share one f16 scale; each is a signed byte.
//!
//! ```text
//! byte   0    1   2    3          33
//!      ┌─────────┬────┬────┬─ ─ ─┬────┐
//!      │ scale   │ q0 │ q1 │     │q31 │   weight i = scale · qi
//!      │ f16 LE  │ i8 │ i8 │     │ i8 │
//!      └─────────┴────┴────┴─ ─ ─┴────┘   8.5 bits per weight
//! ```
//!
//! scale = max |w| / 127; qi = round(wi · (1 / scale)), ties away from zero, with the scale before its rounding to f16.
//! An importance matrix changes nothing. Source: ggml `quantize_row_q8_0_ref`, `dequantize_row_q8_0` (llama.cpp).

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
    pub levels: [i8; GROUP],
}

const _: () = assert!(size_of::<Block>() == 34 && align_of::<Block>() == 1);

super::block_scheme!(Q8_0, "Q8_0", 8);
