//! What the K-quants share in SIMD128.

use crate::quant::simd128::*;
use core::arch::wasm32::*;

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
