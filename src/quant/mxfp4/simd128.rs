//! MXFP4 in SIMD128.

use super::scalar::{self, exponent};
use super::{Block, GROUP, VALUES};
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks::<GROUP>().0.iter().zip(&mut *blocks).enumerate() {
        if !quantize_block(weights, block) {
            *block = scalar::quantize_block(weights).map_err(|fault| fault.after(index * GROUP))?;
        }
    }
    Ok(())
}

/// A block, or false where it needs the scalar code: weights that are not finite, or at an end of f32's range, where a
/// value or the scale's inverse would not be finite.
#[inline(always)]
fn quantize_block(weights: &[f32; GROUP], block: &mut Block) -> bool {
    let vectors = weights.as_chunks::<4>().0;
    let largest = vectors.iter().fold(i32x4_splat(0), |largest, w| i32x4_max(largest, abs(load(w))));
    let largest = lanes(largest).into_iter().fold(0, u32::max);
    if largest >= INFINITY {
        return false;
    }
    let exponent = exponent(f32::from_bits(largest));
    if !(2..=252).contains(&exponent) {
        return false;
    }
    block.exponent = exponent;
    // 2 / scale = 2^(129 − e): the product is exact where it counts.
    let inverse = u32x4_splat((256 - u32::from(exponent)) << 23);
    let [low, high] = [0, 4].map(|i| levels([0, 1, 2, 3].map(|k| load(&vectors[i + k])), inverse));
    store_bytes(&mut block.levels, pack_nibbles(low, high));
    true
}

/// The levels of sixteen weights.
#[inline(always)]
fn levels(w: [v128; 4], inverse: v128) -> v128 {
    // Twice the distance between neighbours' middles is whole: 1, 3, 5, 7, 10, 14, 20. Larger than such a number is what
    // remains larger when rounded up; a middle itself goes to the smaller magnitude. At most 32.
    let doubled = floats_to_bytes(w.map(|w| f32x4_ceil(f32x4_mul(abs(w), inverse))));
    let below = i8x16(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6);
    let level = i8x16_swizzle(below, i8x16_min(doubled, i8x16_splat(15)));
    let level = i8x16_sub(level, i8x16_gt(doubled, i8x16_splat(20)));
    let [a, b, c, d] = w.map(|w| i32x4_shr(w, 31));
    let negative = i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
    // Zero has one spelling.
    let sign = v128_and(v128_and(negative, i8x16_gt(level, i8x16_splat(0))), u8x16_splat(8));
    v128_or(level, sign)
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    let values = load_bytes(&VALUES);
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f32x4_splat(scalar::scale(block.exponent));
        for (levels, out) in unpack_nibbles(load_bytes(&block.levels)).into_iter().zip(weights.as_chunks_mut().0) {
            scale_bytes(i8x16_swizzle(values, levels), scale, out);
        }
    }
}
