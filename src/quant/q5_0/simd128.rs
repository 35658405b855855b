//! Q5_0 in SIMD128: four blocks at a time, so that scales are made in vectors too.

use super::{Block, GROUP, scalar};
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use crate::quant::weighted::{mean_square, simd128 as weighted};
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    four_by_four(rows, blocks, quantize_quad, scalar::quantize)
}

/// Four blocks, or false where one of them needs the scalar code: weights that are not finite, a scale that is too large
/// for f16, or too small to have an inverse.
#[inline(always)]
fn quantize_quad(weights: &[f32; 4 * GROUP], blocks: &mut [Block; 4]) -> bool {
    let groups = weights.as_chunks::<GROUP>().0;
    let extreme = extremes(groups);
    // −0 where all weights are ±0, as in the reference
    let zero = v128_and(f32x4_eq(extreme, f32x4_splat(0.0)), u32x4_splat(SIGN));
    let scale = v128_or(f32x4_mul(extreme, f32x4_splat(-0.0625)), zero);
    let nonzero = f32x4_ne(scale, f32x4_splat(0.0));
    let inverse = v128_and(f32x4_div(f32x4_splat(1.0), scale), nonzero);
    let stored = f32_to_f16(scale);
    if v128_any_true(v128_or(not_finite_f16(stored), not_finite(inverse))) {
        return false;
    }
    let (stored, inverse) = (lanes(stored), lanes(inverse));
    for i in 0..4 {
        let block = &mut blocks[i];
        block.scale = (stored[i] as u16).to_le_bytes();
        let inverse = u32x4_splat(inverse[i]);
        let level = |w: &[f32; 4]| f32x4_floor(f32x4_add(f32x4_mul(load(w), inverse), f32x4_splat(16.5)));
        let [low, high] = levels(&groups[i], level).map(|levels| u8x16_min(levels, u8x16_splat(31)));
        block.fifth = fifth_bits(low, high);
        store_bytes(&mut block.levels, pack_low_nibbles(low, high));
    }
    true
}

/// The levels, whole numbers in f32, of weights 0 … 15 and 16 … 31.
#[inline(always)]
pub(in crate::quant) fn levels(group: &[f32; GROUP], level: impl Fn(&[f32; 4]) -> v128) -> [v128; 2] {
    let w = group.as_chunks::<4>().0;
    [0, 4].map(|i| floats_to_bytes([level(&w[i]), level(&w[i + 1]), level(&w[i + 2]), level(&w[i + 3])]))
}

/// The low four bits of levels below 32.
#[inline(always)]
pub(in crate::quant) fn pack_low_nibbles(low: v128, high: v128) -> v128 {
    let nibble = u8x16_splat(15);
    pack_nibbles(v128_and(low, nibble), v128_and(high, nibble))
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
    let Some(found) = weighted::symmetric::<16>(groups, &quad) else { return false };
    for (block, found) in blocks.iter_mut().zip(found) {
        block.scale = found.scale;
        let [low, high] = found.levels;
        block.fifth = fifth_bits(low, high);
        store_bytes(&mut block.levels, pack_low_nibbles(low, high));
    }
    true
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = splat_scale(block.scale);
        let levels = unpack_nibbles(load_bytes(&block.levels)).into_iter().zip(unpack_fifth_bits(block.fifth));
        for ((levels, fifth), out) in levels.zip(weights.as_chunks_mut().0) {
            scale_bytes(i8x16_sub(v128_or(levels, fifth), i8x16_splat(16)), scale, out);
        }
    }
}
