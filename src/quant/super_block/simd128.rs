//! What the K-quants share in SIMD128.

use crate::quant::simd128::*;
use core::arch::wasm32::*;

/// What errors count for, as [`super::weigh`].
#[inline(always)]
pub(in crate::quant) fn weigh<const N: usize, const V: usize>(
    spread: f32,
    x: &[[v128; V]; N],
    importance: &[[v128; V]; N],
) -> [[v128; V]; N] {
    let weight = |x, importance| f32x4_mul(importance, f32x4_sqrt(f32x4_add(f32x4_splat(spread), f32x4_mul(x, x))));
    std::array::from_fn(|i| std::array::from_fn(|v| weight(x[i][v], importance[i][v])))
}

/// The levels of weights whose scale and minimum are settled, as [`super::affine_levels`].
#[inline(always)]
pub(in crate::quant) fn affine_levels<const N: usize>(
    top: i32,
    scale: f32,
    min: f32,
    weights: &[f32; N],
    levels: &mut [u8; N],
) {
    let (scale, min) = (f32x4_splat(scale), f32x4_splat(min));
    for (w, levels) in weights.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0) {
        let w = w.as_chunks().0;
        let level = |i: usize| f32x4_div(f32x4_add(load(&w[i]), min), scale);
        let bytes = nearest_bytes([level(0), level(1), level(2), level(3)]);
        store_bytes(levels, i8x16_min(i8x16_max(bytes, i8x16_splat(0)), i8x16_splat(top as i8)));
    }
}

/// The levels of weights whose scale is settled, as [`super::symmetric_levels`].
#[inline(always)]
pub(in crate::quant) fn symmetric_levels(half: i8, scale: f32, weights: &[f32; 16], levels: &mut [u8; 16]) {
    let w = weights.as_chunks().0;
    let level = |i: usize| f32x4_div(load(&w[i]), f32x4_splat(scale));
    let bytes = nearest_bytes([level(0), level(1), level(2), level(3)]);
    let bytes = i8x16_min(i8x16_max(bytes, i8x16_splat(-half)), i8x16_splat(half - 1));
    store_bytes(levels, i8x16_add(bytes, i8x16_splat(half)));
}

/// Sixteen levels (bytes below 128) times a scale, less a minimum.
#[inline(always)]
pub(in crate::quant) fn restore(levels: v128, (scale, min): (f32, f32), out: &mut [f32; 16]) {
    let (scale, min) = (f32x4_splat(scale), f32x4_splat(min));
    let halves = [i16x8_extend_low_i8x16(levels), i16x8_extend_high_i8x16(levels)];
    for (half, out) in halves.into_iter().zip(out.as_chunks_mut::<8>().0) {
        let words = [i32x4_extend_low_i16x8(half), i32x4_extend_high_i16x8(half)];
        for (words, out) in words.into_iter().zip(out.as_chunks_mut::<4>().0) {
            store(out, f32x4_sub(f32x4_mul(f32x4_convert_i32x4(words), scale), min));
        }
    }
}

/// Bits `shift` and `shift + 1` of each byte; `shift` is even and below 8.
#[inline(always)]
pub(in crate::quant) fn pairs(bytes: v128, shift: u32) -> v128 {
    // Shifts by 16-bit lanes: what crosses a byte is masked off.
    v128_and(u16x8_shr(bytes, shift), u8x16_splat(3))
}
