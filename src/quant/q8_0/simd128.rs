//! Q8_0 in SIMD128: four blocks at a time, so that scales are made in vectors too.

use super::{Block, GROUP, scalar};
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    four_by_four(rows, blocks, quantize_quad, scalar::quantize)
}

/// Four blocks, or false where one of them needs the scalar code: weights that are not finite, a scale that is too large
/// for f16, or too small to have an inverse.
#[inline(always)]
fn quantize_quad(weights: &[f32; 4 * GROUP], blocks: &mut [Block; 4]) -> bool {
    let groups = weights.as_chunks::<GROUP>().0;
    let largest = |group: &[f32; GROUP]| {
        group.as_chunks().0.iter().fold(i32x4_splat(0), |largest, w| i32x4_max(largest, abs(load(w))))
    };
    let largest = [largest(&groups[0]), largest(&groups[1]), largest(&groups[2]), largest(&groups[3])];
    let scale = f32x4_div(fold_lanes(largest, |a, b| i32x4_max(a, b)), f32x4_splat(127.0));
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
        for (w, levels) in groups[i].as_chunks::<16>().0.iter().zip(block.levels.as_chunks_mut().0) {
            let w = w.as_chunks::<4>().0;
            let level = |i: usize| round_half_away(f32x4_mul(load(&w[i]), inverse));
            let low = i16x8_narrow_i32x4(level(0), level(1));
            let high = i16x8_narrow_i32x4(level(2), level(3));
            store_bytes(levels, i8x16_narrow_i16x8(low, high));
        }
    }
    true
}

/// To the nearest integer, ties away from zero, as i32; |x| < 2^21.
#[inline(always)]
fn round_half_away(x: v128) -> v128 {
    // The largest f32 below 1/2: with 1/2 itself, 0.49999997 would round up.
    const BELOW_HALF: u32 = 0x3eff_ffff;
    let half = v128_or(v128_and(x, u32x4_splat(SIGN)), u32x4_splat(BELOW_HALF));
    let whole = f32x4_trunc(f32x4_add(x, half));
    // An integer plus 1.5 · 2^23 has the integer in its low bits: cheaper than a conversion that saturates.
    let magic = f32x4_splat(12_582_912.0);
    i32x4_sub(f32x4_add(whole, magic), magic)
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = splat_scale(block.scale);
        for (levels, w) in block.levels.as_chunks().0.iter().zip(weights.as_chunks_mut().0) {
            scale_bytes(load_bytes(levels), scale, w);
        }
    }
}
