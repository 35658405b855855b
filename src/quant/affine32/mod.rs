//! What Q4_K and Q5_K share: eight sub-blocks of 32 weights, each with a scale and a minimum of six bits, which two f16
//! scale in turn.
//!
//! ```text
//! Twelve bytes hold scales s0 … s7 and minimums m0 … m7:
//!   byte j     = sj & 63 | (s(j+4) >> 4) << 6            j = 0 … 3
//!   byte j + 4 = mj & 63 | (m(j+4) >> 4) << 6
//!   byte j + 8 = s(j+4) & 15 | (m(j+4) & 15) << 4
//! ```
//!
//! Errors are weighted by √(mean w²) + |w|, the mean over the sub-block; with an importance matrix by
//! importance · √(2 · mean w² + w²), the mean over the block.

pub(super) mod scalar;
#[cfg(target_feature = "simd128")]
pub(super) mod simd128;

use super::search::Tries;
use super::super_block::GROUP;

/// Weights per sub-block.
pub(super) const SUB: usize = 32;
/// Sub-blocks.
pub(super) const SUBS: usize = GROUP / SUB;
/// The highest of the six-bit scales and minimums.
const TOP: i32 = 63;

/// A type, as far as it differs.
#[derive(Debug)]
pub(super) struct Kind {
    pub tries: Tries,
    pub tries_with_importance: Tries,
}

/// Scales of a block as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Head {
    /// f16, little-endian: what one step of the six-bit scales weighs.
    pub scale: [u8; 2],
    /// f16, little-endian: what one step of the six-bit minimums weighs.
    pub min: [u8; 2],
    pub packed: [u8; 12],
}

const _: () = assert!(size_of::<Head>() == 16 && align_of::<Head>() == 1);

/// Packs scales and minimums of six bits. Higher bits go where ggml lets them go.
fn pack(scales: &[u8; SUBS], mins: &[u8; SUBS]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = scales[j] | scales[j + 4] >> 4 << 6;
        packed[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        packed[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
    packed
}

/// Scales and minimums.
pub(crate) fn unpack(packed: &[u8; 12]) -> ([u8; SUBS], [u8; SUBS]) {
    let (mut scales, mut mins) = ([0; SUBS], [0; SUBS]);
    for j in 0..4 {
        (scales[j], mins[j]) = (packed[j] & 63, packed[j + 4] & 63);
        scales[j + 4] = packed[j + 8] & 15 | packed[j] >> 6 << 4;
        mins[j + 4] = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;
    }
    (scales, mins)
}
