//! Q4_1 in SIMD128: four blocks at a time, so that scales are made in vectors too.

use super::scalar::{self, TRIES};
use super::{Block, GROUP};
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use crate::quant::weighted::{mean_square, simd128 as weighted};
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    four_by_four(rows, blocks, quantize_quad, scalar::quantize)
}

/// Four blocks, or false where one of them needs the scalar code: weights that are not finite, a scale or offset that is
/// too large for f16, or a scale too small to have an inverse.
#[inline(always)]
fn quantize_quad(weights: &[f32; 4 * GROUP], blocks: &mut [Block; 4]) -> bool {
    let groups = weights.as_chunks::<GROUP>().0;
    let Some(grid) = Grid::new(groups, 15.0) else { return false };
    for i in 0..4 {
        let block = &mut blocks[i];
        (block.scale, block.offset) = grid.stored(i);
        let (least, inverse) = grid.lane(i);
        let w = groups[i].as_chunks::<4>().0;
        // At most 15.5 and a few roundings: no bound is needed.
        let level =
            |w: &[f32; 4]| f32x4_floor(f32x4_add(f32x4_mul(f32x4_sub(load(w), least), inverse), f32x4_splat(0.5)));
        // Two levels make a byte in f32 arithmetic, exactly.
        let bytes = |i: usize| f32x4_add(level(&w[i]), f32x4_mul(level(&w[i + 4]), f32x4_splat(16.0)));
        store_bytes(&mut block.levels, floats_to_bytes([bytes(0), bytes(1), bytes(2), bytes(3)]));
    }
    true
}

/// Scales, their inverses and offsets of four blocks.
pub(in crate::quant) struct Grid {
    scale: [u32; 4],
    offset: [u32; 4],
    least: [u32; 4],
    inverse: [u32; 4],
}

impl Grid {
    /// `top`: the highest level. `None` where a block needs the scalar code.
    #[inline(always)]
    pub(in crate::quant) fn new(groups: &[[f32; GROUP]], top: f32) -> Option<Self> {
        let (least, greatest) = ranges(groups);
        // +0 where all weights are ±0, as in the reference
        let scale = abs(f32x4_div(f32x4_sub(greatest, least), f32x4_splat(top)));
        let nonzero = f32x4_ne(scale, f32x4_splat(0.0));
        let inverse = v128_and(f32x4_div(f32x4_splat(1.0), scale), nonzero);
        let (stored, offset) = (f32_to_f16(scale), f32_to_f16(least));
        let unfit = v128_or(v128_or(not_finite_f16(stored), not_finite_f16(offset)), not_finite(inverse));
        if v128_any_true(unfit) {
            return None;
        }
        Some(Self { scale: lanes(stored), offset: lanes(offset), least: lanes(least), inverse: lanes(inverse) })
    }

    /// Scale and offset of block `i` as it stores them.
    #[inline(always)]
    pub(in crate::quant) fn stored(&self, i: usize) -> ([u8; 2], [u8; 2]) {
        ((self.scale[i] as u16).to_le_bytes(), (self.offset[i] as u16).to_le_bytes())
    }

    /// The least weight and the inverse of the scale of block `i`, in each lane.
    #[inline(always)]
    pub(in crate::quant) fn lane(&self, i: usize) -> (v128, v128) {
        (u32x4_splat(self.least[i]), u32x4_splat(self.inverse[i]))
    }
}

pub(in crate::quant) fn quantize_weighted(rows: &[f32], importance: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    weighted::for_each(rows, importance, blocks, mean_square, weighted_quad, scalar::weighted_block)
}

/// Four blocks, or false as [`quantize_quad`].
fn weighted_quad(
    groups: &[[f32; GROUP]; 4],
    importance: &[[f32; GROUP]; 4],
    spread: f32,
    blocks: &mut [Block; 4],
) -> bool {
    let quad = weighted::quad(groups, importance, f32x4_splat(spread));
    let Some(found) = weighted::affine(&TRIES, groups, &quad) else { return false };
    for (block, found) in blocks.iter_mut().zip(found) {
        (block.scale, block.offset) = (found.scale, found.offset);
        let [low, high] = found.levels;
        store_bytes(&mut block.levels, pack_nibbles(low, high));
    }
    true
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let (scale, offset) = (splat_scale(block.scale), splat_scale(block.offset));
        let levels = unpack_nibbles(load_bytes(&block.levels));
        for (levels, out) in levels.into_iter().zip(weights.as_chunks_mut().0) {
            scale_and_offset_bytes(levels, scale, offset, out);
        }
    }
}
