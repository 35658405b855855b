//! Q5_1 in SIMD128: four blocks at a time, so that scales are made in vectors too.

use super::scalar::{self, TRIES};
use super::{Block, GROUP};
use crate::quant::fault::Fault;
use crate::quant::q4_1::simd128::Grid;
use crate::quant::q5_0::simd128::{levels, pack_low_nibbles};
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
    let Some(grid) = Grid::new(groups, 31.0) else { return false };
    for i in 0..4 {
        let block = &mut blocks[i];
        (block.scale, block.offset) = grid.stored(i);
        let (least, inverse) = grid.lane(i);
        let level =
            |w: &[f32; 4]| f32x4_floor(f32x4_add(f32x4_mul(f32x4_sub(load(w), least), inverse), f32x4_splat(0.5)));
        let [low, high] = levels(&groups[i], level);
        block.fifth = fifth_bits(low, high);
        store_bytes(&mut block.levels, pack_low_nibbles(low, high));
    }
    true
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
        block.fifth = fifth_bits(low, high);
        store_bytes(&mut block.levels, pack_low_nibbles(low, high));
    }
    true
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let (scale, offset) = (splat_scale(block.scale), splat_scale(block.offset));
        let levels = unpack_nibbles(load_bytes(&block.levels)).into_iter().zip(unpack_fifth_bits(block.fifth));
        for ((levels, fifth), out) in levels.zip(weights.as_chunks_mut().0) {
            scale_and_offset_bytes(v128_or(levels, fifth), scale, offset, out);
        }
    }
}
