//! IQ4_NL in SIMD128, and the search that it shares with IQ4_XS. The search runs on four groups at once, one a lane: each
//! lane sums in the reference's order, so its floats are the reference's floats.

use super::scalar::{self, TRIES};
use super::{Block, GROUP, VALUES};
use crate::quant::fault::Fault;
use crate::quant::search::TINY;
use crate::quant::simd128::*;
use crate::quant::weighted::simd128::{self as weighted, Quad, columns};
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    four_by_four(rows, blocks, quantize_quad, scalar::quantize)
}

/// Four blocks, or false where one of them needs the scalar code: weights that are not finite, sums that overflow, a scale
/// that is too large for f16 or too small to have an inverse.
fn quantize_quad(weights: &[f32; 4 * GROUP], blocks: &mut [Block; 4]) -> bool {
    let groups = weights.as_chunks::<GROUP>().0.first_chunk().unwrap();
    let x = columns(groups);
    let scale = search(&x, &x.map(|x| f32x4_mul(x, x)));
    store_quad(groups, scale, blocks)
}

pub(in crate::quant) fn quantize_weighted(rows: &[f32], importance: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    weighted::for_each(rows, importance, blocks, |_| Ok(()), weighted_quad, scalar::weighted_block)
}

/// Four blocks, or false as [`quantize_quad`].
fn weighted_quad(groups: &[[f32; GROUP]; 4], importance: &[[f32; GROUP]; 4], _: (), blocks: &mut [Block; 4]) -> bool {
    let sums = columns(groups).into_iter().fold(f32x4_splat(0.0), |sum, x| f32x4_add(sum, f32x4_mul(x, x)));
    let Quad { x, weights } = weighted::quad(groups, importance, f32x4_mul(sums, f32x4_splat(2.0 / GROUP as f32)));
    store_quad(groups, search(&x, &weights), blocks)
}

/// Blocks of the scales that were found, a lane each; false as [`quantize_quad`].
#[inline(always)]
fn store_quad(groups: &[[f32; GROUP]; 4], scale: v128, blocks: &mut [Block; 4]) -> bool {
    let nonzero = f32x4_ne(scale, f32x4_splat(0.0));
    let inverse = v128_and(f32x4_div(f32x4_splat(1.0), scale), nonzero);
    let stored = f32_to_f16(scale);
    let unfit = v128_or(v128_or(not_finite(scale), not_finite(inverse)), not_finite_f16(stored));
    if v128_any_true(unfit) {
        return false;
    }
    let (stored, inverse) = (lanes(stored), lanes(inverse));
    for i in 0..4 {
        blocks[i].scale = (stored[i] as u16).to_le_bytes();
        store_levels(&groups[i], f32::from_bits(inverse[i]), &mut blocks[i].levels);
    }
    true
}

/// The levels of a group for a finite inverse of its scale.
#[inline(always)]
pub(in crate::quant) fn store_levels(group: &[f32; GROUP], inverse: f32, levels: &mut [u8; GROUP / 2]) {
    let w = group.as_chunks::<4>().0;
    let doubled = |i: usize| {
        // The sums' best scale may leave any weight far outside of the values.
        let x = f32x4_mul(load(&w[i]), f32x4_splat(inverse));
        let x = f32x4_pmin(f32x4_pmax(x, f32x4_splat(-150.0)), f32x4_splat(150.0));
        f32x4_add(x, x)
    };
    let [low, high] = [0, 4].map(|i| nearest([doubled(i), doubled(i + 1), doubled(i + 2), doubled(i + 3)]));
    store_bytes(levels, pack_nibbles(low, high));
}

/// The scales whose levels are least wrong, a lane for each group, errors counting by `counts`. Not finite where the group
/// holds something that is not, or its sums overflow.
pub(in crate::quant) fn search(x: &[v128; GROUP], counts: &[v128; GROUP]) -> v128 {
    let zero = f32x4_splat(0.0);
    let (mut largest, mut extreme) = (zero, zero);
    for &x in x {
        let magnitude = abs(x);
        extreme = v128_bitselect(x, extreme, i32x4_gt(magnitude, largest));
        largest = i32x4_max(largest, magnitude);
    }
    let unfit = i32x4_ge(largest, u32x4_splat(INFINITY));

    let first = f32::from(VALUES[0]);
    let plain = f32x4_div(f32x4_neg(extreme), f32x4_splat(first));
    let (vw, vv) = sums(x, counts, f32x4_div(f32x4_splat(1.0), plain));
    let mut scale = v128_and(f32x4_div(vw, vv), f32x4_gt(vv, zero));
    let mut worth = f32x4_mul(scale, vw);
    for step in -TRIES..=TRIES {
        let (vw, vv) = sums(x, counts, f32x4_div(f32x4_splat(step as f32 + first), extreme));
        let better = f32x4_gt(f32x4_mul(vw, vw), f32x4_mul(worth, vv));
        let better = v128_and(better, f32x4_gt(vv, zero));
        let this = f32x4_div(vw, vv);
        scale = v128_bitselect(this, scale, better);
        worth = v128_bitselect(f32x4_mul(this, vw), worth, better);
    }
    v128_or(v128_andnot(scale, f32x4_lt(largest, f32x4_splat(TINY))), unfit)
}

/// Σ c·v·w and Σ c·v² for the values v that the inverses give.
#[inline(always)]
fn sums(x: &[v128; GROUP], counts: &[v128; GROUP], inverse: v128) -> (v128, v128) {
    let (mut vw, mut vv) = (f32x4_splat(0.0), f32x4_splat(0.0));
    let doubled = f32x4_add(inverse, inverse); // doubling before or after the product is the same
    let values = load_bytes(&VALUES);
    for (x, counts) in x.as_chunks::<4>().0.iter().zip(counts.as_chunks::<4>().0) {
        let value = i8x16_swizzle(values, nearest(x.map(|x| f32x4_mul(doubled, x))));
        let (low, high) = (i16x8_extend_low_i8x16(value), i16x8_extend_high_i8x16(value));
        let value = [
            i32x4_extend_low_i16x8(low),
            i32x4_extend_high_i16x8(low),
            i32x4_extend_low_i16x8(high),
            i32x4_extend_high_i16x8(high),
        ];
        for ((&x, &count), value) in x.iter().zip(counts).zip(value) {
            let value = f32x4_convert_i32x4(value);
            let weighted = f32x4_mul(count, value);
            vw = f32x4_add(vw, f32x4_mul(weighted, x));
            vv = f32x4_add(vv, f32x4_mul(weighted, value));
        }
    }
    (vw, vv)
}

/// Twice the middles between neighbouring values.
const MIDDLES: [i16; 15] = [-231, -187, -148, -114, -84, -57, -32, -9, 14, 38, 63, 91, 122, 158, 202];
/// What brings the negative middles, and the others, into a byte's range.
const SHIFT: [i16; 2] = [120, -108];

/// The levels of numbers of magnitude up to 150, which are given doubled: as many as there are middles at or below. Where
/// the reference's two distances are close to each other they are exact, so they say the same.
#[inline(always)]
fn nearest(doubled: [v128; 4]) -> v128 {
    // 1.5 · 2^23 leaves a whole number in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let offset = u32x4_splat((MAGIC.to_bits() as i32 - i32::from(SHIFT[1])) as u32);
    let [a, b, c, d] = doubled.map(|x| i32x4_sub(f32x4_add(f32x4_floor(x), f32x4_splat(MAGIC)), offset));
    let (ab, cd) = (i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
    let above = i8x16_narrow_i16x8(ab, cd);
    let shift = i16x8_splat(SHIFT[0] - SHIFT[1]);
    let below = i8x16_narrow_i16x8(i16x8_add(ab, shift), i16x8_add(cd, shift));
    let mut level = i8x16_splat(0);
    for middle in MIDDLES {
        let (x, shift) = if middle < 0 { (below, SHIFT[0]) } else { (above, SHIFT[1]) };
        // A comparison gives 0 or −1.
        level = i8x16_sub(level, i8x16_gt(x, i8x16_splat((middle + shift - 1) as i8)));
    }
    level
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        restore(&block.levels, splat_scale(block.scale), weights);
    }
}

/// Values times a scale.
#[inline(always)]
pub(in crate::quant) fn restore(levels: &[u8; GROUP / 2], scale: v128, weights: &mut [f32; GROUP]) {
    let values = load_bytes(&VALUES);
    for (levels, out) in unpack_nibbles(load_bytes(levels)).into_iter().zip(weights.as_chunks_mut().0) {
        scale_bytes(i8x16_swizzle(values, levels), scale, out);
    }
}
