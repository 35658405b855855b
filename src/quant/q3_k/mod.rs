//! Q3_K: 256 weights in 16 sub-blocks of 16; six bits scale each sub-block, one f16 scales those; each weight three bits.
//!
//! ```text
//! byte 0                 32                96                  108      110
//!      ┌─────────────────┬─────────────────┬───────────────────┬────────┐
//!      │ high: 1 bit     │ low: 2 bits     │ 16 scales, 6 bits │ scale  │   weight i = scale · (s(i/16) − 32) · (qi − 4)
//!      │ each            │ each            │                   │ f16 LE │
//!      └─────────────────┴─────────────────┴───────────────────┴────────┘   3.4375 bits per weight
//!
//! Bit s of high[l] is the third bit of weight 32 · s + l. The low bits are in two halves of 128 weights, 32 bytes each:
//!   byte l = q[l] & 3 | (q[l + 32] & 3) << 2 | (q[l + 64] & 3) << 4 | (q[l + 96] & 3) << 6
//! Of the twelve bytes of scales:
//!   byte j     = sj & 15 | (s(j+8) & 15) << 4                                        j = 0 … 7
//!   byte j + 8 = sj >> 4 | s(j+4) >> 4 << 2 | s(j+8) >> 4 << 4 | s(j+12) >> 4 << 6   j = 0 … 3
//! ```
//!
//! Each sub-block starts with the levels of scale −m / 4 (m: the weight of largest magnitude) and moves one level after the
//! other while that lowers Σ w²·error². With an importance matrix, it tries 19 scales instead. The levels are computed anew with
//! the stored scales, ties to even. Source: ggml `quantize_row_q3_K_ref`, `make_q3_quants`, `quantize_row_q3_K_impl`,
//! `dequantize_row_q3_K` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

pub use super::super_block::GROUP;

/// Weights per sub-block.
pub const SUB: usize = 16;
/// Sub-blocks.
pub const SUBS: usize = GROUP / SUB;

#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Block {
    pub high: [u8; GROUP / 8],
    pub low: [u8; GROUP / 4],
    pub scales: [u8; 12],
    /// f16, little-endian.
    pub scale: [u8; 2],
}

/// Packs the sub-blocks' scales, 0 … 63.
fn pack_scales(scales: &[u8; SUBS]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (j, &s) in scales.iter().enumerate() {
        packed[j % 8] |= (s & 15) << (4 * (j / 8));
        packed[8 + j % 4] |= s >> 4 << (2 * (j / 4));
    }
    packed
}

/// The sub-blocks' scales, −32 … 31.
pub(crate) fn unpack_scales(packed: &[u8; 12]) -> [i8; SUBS] {
    std::array::from_fn(|j| {
        let bits = packed[j % 8] >> (4 * (j / 8)) & 15 | (packed[8 + j % 4] >> (2 * (j / 4)) & 3) << 4;
        bits as i8 - 32
    })
}

const _: () = assert!(size_of::<Block>() == 110 && align_of::<Block>() == 1);

super::block_scheme!(Q3K, "Q3_K", 11, either);
