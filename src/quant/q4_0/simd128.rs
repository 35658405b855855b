//! Q4_0 in SIMD128: four blocks at a time, so that scales are made in vectors too.

use super::{Block, GROUP, scalar};
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use core::arch::wasm32::*;

const BLOCKS: usize = 4;
const WEIGHTS: usize = BLOCKS * GROUP;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    let (quads, rest) = rows.as_chunks::<WEIGHTS>();
    let (block_quads, block_rest) = blocks.as_chunks_mut::<BLOCKS>();
    for (index, (weights, blocks)) in quads.iter().zip(block_quads).enumerate() {
        if !quantize_quad(weights, blocks) {
            scalar::quantize(weights, blocks).map_err(|fault| fault.after(index * WEIGHTS))?;
        }
    }
    scalar::quantize(rest, block_rest).map_err(|fault| fault.after(quads.len() * WEIGHTS))
}

/// Four blocks, or false where one of them needs the scalar code: weights that are not finite, a scale that is too large
/// for f16, or too small to have an inverse.
#[inline(always)]
fn quantize_quad(weights: &[f32; WEIGHTS], blocks: &mut [Block; BLOCKS]) -> bool {
    let groups = weights.as_chunks::<GROUP>().0;
    let extreme = extremes(groups);
    // −0 where all weights are ±0, as in the reference
    let zero = v128_and(f32x4_eq(extreme, f32x4_splat(0.0)), u32x4_splat(SIGN));
    let scale = v128_or(f32x4_mul(extreme, f32x4_splat(-0.125)), zero);
    let nonzero = f32x4_ne(scale, f32x4_splat(0.0));
    let inverse = v128_and(f32x4_div(f32x4_splat(1.0), scale), nonzero);
    let stored = f32_to_f16(scale);
    let unfit = v128_or(
        i32x4_ge(v128_and(stored, i32x4_splat(0x7fff)), i32x4_splat(0x7c00)),
        i32x4_ge(abs(inverse), u32x4_splat(INFINITY)),
    );
    if v128_any_true(unfit) {
        return false;
    }
    let (stored, inverse) = (lanes(stored), lanes(inverse));
    for i in 0..BLOCKS {
        let block = &mut blocks[i];
        block.scale = (stored[i] as u16).to_le_bytes();
        let inverse = u32x4_splat(inverse[i]);
        let w = groups[i].as_chunks::<4>().0;
        let level = |w: &[f32; 4]| {
            let level = f32x4_add(f32x4_mul(load(w), inverse), f32x4_splat(8.5));
            f32x4_pmin(f32x4_floor(level), f32x4_splat(15.0))
        };
        // Two levels make a byte in f32 arithmetic, exactly; adding 2^23 brings it to the low bits.
        let bytes = |i: usize| {
            let byte = f32x4_add(level(&w[i]), f32x4_mul(level(&w[i + 4]), f32x4_splat(16.0)));
            let magic = f32x4_splat(8_388_608.0);
            v128_xor(f32x4_add(byte, magic), magic)
        };
        let low = i16x8_narrow_i32x4(bytes(0), bytes(1));
        let high = i16x8_narrow_i32x4(bytes(2), bytes(3));
        store_bytes(&mut block.levels, u8x16_narrow_i16x8(low, high));
    }
    true
}

/// For each group the weight of largest magnitude, the first of them; anything that is not finite where the group holds
/// something that is not finite.
#[inline(always)]
fn extremes(groups: &[[f32; GROUP]]) -> v128 {
    // Among the bits as signed integers the largest is the largest positive weight, if any is positive; as unsigned
    // integers it is the negative weight of largest magnitude, if any is negative. Where there is no positive (negative)
    // weight, both are the same.
    let fold = |group: &[f32; GROUP]| {
        let start = load(group.first_chunk().unwrap());
        group.as_chunks().0.iter().fold((start, start), |(positive, negative), w| {
            let w = load(w);
            (i32x4_max(positive, w), u32x4_max(negative, w))
        })
    };
    let [a, b, c, d] = [fold(&groups[0]), fold(&groups[1]), fold(&groups[2]), fold(&groups[3])];
    let positive = fold_lanes([a.0, b.0, c.0, d.0], |a, b| i32x4_max(a, b));
    let negative = fold_lanes([a.1, b.1, c.1, d.1], |a, b| u32x4_max(a, b));
    let (above, below) = (abs(positive), abs(negative));
    let extreme = v128_bitselect(positive, negative, i32x4_gt(above, below));
    let tie = v128_and(i32x4_eq(above, below), i32x4_ne(positive, negative));
    if !v128_any_true(tie) {
        return extreme;
    }
    let (mut extreme, ties) = (lanes(extreme), i32x4_bitmask(tie));
    for i in (0..BLOCKS).filter(|i| ties >> i & 1 != 0) {
        extreme[i] = first_of_magnitude(&groups[i], extreme[i] & !SIGN);
    }
    u32x4(extreme[0], extreme[1], extreme[2], extreme[3])
}

/// The bits of the first weight of that magnitude; there is one.
fn first_of_magnitude(group: &[f32; GROUP], magnitude: u32) -> u32 {
    for w in group.as_chunks::<4>().0 {
        let here = i32x4_bitmask(i32x4_eq(abs(load(w)), u32x4_splat(magnitude)));
        if here != 0 {
            return w[here.trailing_zeros() as usize & 3].to_bits();
        }
    }
    magnitude
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = splat_scale(block.scale);
        let levels = load_bytes(&block.levels);
        let out = weights.as_chunks_mut::<16>().0;
        let eight = i8x16_splat(8);
        scale_bytes(i8x16_sub(v128_and(levels, u8x16_splat(15)), eight), scale, &mut out[0]);
        scale_bytes(i8x16_sub(u8x16_shr(levels, 4), eight), scale, &mut out[1]);
    }
}
