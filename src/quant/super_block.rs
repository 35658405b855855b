//! What the K-quants share: blocks of 256 weights in sub-blocks, whose scales are quantized themselves.

#[cfg(target_feature = "simd128")]
pub(super) mod simd128;

use super::fault::{Fault, magnitude, scale_to_f16};
use super::{SchemeSpec, check_shape};
use crate::num::{f16_to_f32, nearest_int};

/// Weights per block (ggml: super-block).
pub const GROUP: usize = 256;

/// Panics unless the shape is right and `importance`, if there is one, has a weight for each column.
pub(super) fn check(spec: &SchemeSpec, weights: usize, cols: usize, importance: Option<&[f32]>) {
    check_shape(spec, weights, cols);
    assert!(importance.is_none_or(|weights| weights.len() == cols), "importance of {cols} columns");
}

/// Quantizes block by block, each with the importance of its columns; a fault tells its place in `rows`.
pub(super) fn for_each<Block>(
    rows: &[f32],
    importance: Option<&[f32]>,
    blocks: &mut [Block],
    mut quantize: impl FnMut(&[f32; GROUP], Option<&[f32; GROUP]>, &mut Block) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let columns = importance.map(|importance| importance.as_chunks().0);
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        let importance = columns.map(|columns| &columns[index % columns.len()]);
        quantize(weights, importance, block).map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

/// Refuses NaN and infinity.
pub(super) fn check_finite(weights: &[f32; GROUP]) -> Result<(), Fault> {
    magnitude(weights).map(drop)
}

/// Σ w², one after the other.
pub(super) fn sum_of_squares(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |sum, w| sum + w * w)
}

/// What an error counts for: importance · √(spread + w²).
pub(super) fn weigh(spread: f32, weights: &[f32], importance: &[f32], out: &mut [f32]) {
    for ((out, w), importance) in out.iter_mut().zip(weights).zip(importance) {
        *out = importance * (spread + w * w).sqrt();
    }
}

/// A scale as it is stored, and as it is read again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub bytes: [u8; 2],
    pub value: f32,
}

impl Stored {
    pub(super) fn new(scale: f32) -> Result<Self, Fault> {
        let bits = scale_to_f16(scale)?;
        Ok(Self { bytes: bits.to_le_bytes(), value: f16_to_f32(bits) })
    }
}

/// The levels of weights whose scale and minimum are settled.
pub(super) fn affine_levels(top: i32, scale: f32, min: f32, weights: &[f32], levels: &mut [u8]) {
    for (level, w) in levels.iter_mut().zip(weights) {
        *level = nearest_int((w + min) / scale).clamp(0, top) as u8;
    }
}

/// As [`affine_levels`] without a minimum: −half … half − 1, `half` added.
pub(super) fn symmetric_levels(half: i32, scale: f32, weights: &[f32], levels: &mut [u8]) {
    for (level, w) in levels.iter_mut().zip(weights) {
        *level = (nearest_int(w / scale).clamp(-half, half - 1) + half) as u8;
    }
}

/// Levels of two bits, as Q2_K and Q3_K pack them: byte l of a half of 128 weights has the levels l, l + 32, l + 64, l + 96.
pub(super) fn pack_pairs(levels: &[u8; GROUP], packed: &mut [u8; GROUP / 4]) {
    for (q, packed) in levels.as_chunks::<128>().0.iter().zip(packed.as_chunks_mut::<32>().0) {
        for (l, byte) in packed.iter_mut().enumerate() {
            *byte = (q[l] & 3) | (q[l + 32] & 3) << 2 | (q[l + 64] & 3) << 4 | (q[l + 96] & 3) << 6;
        }
    }
}

/// Level `i` as [`pack_pairs`] packs it.
pub(super) fn pair(packed: &[u8; GROUP / 4], i: usize) -> u8 {
    packed[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3
}
