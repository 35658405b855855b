//! What the SIMD128 kernels share: loads and stores of fixed arrays, f16 in vectors, sums across lanes.
//!
//! Bit tricks on f32 lanes treat them as i32: for numbers of one sign, order of bits is order of magnitudes, and every
//! infinity and NaN lies above every finite number.

use core::arch::wasm32::*;

pub(in crate::quant) const SIGN: u32 = 1 << 31;
pub(in crate::quant) const INFINITY: u32 = 0x7f80_0000;

#[inline(always)]
pub(in crate::quant) fn load(x: &[f32; 4]) -> v128 {
    // SAFETY: a reference to 16 readable bytes; v128_load needs no alignment.
    unsafe { v128_load(x.as_ptr().cast()) }
}

#[inline(always)]
pub(in crate::quant) fn store(x: &mut [f32; 4], v: v128) {
    // SAFETY: a reference to 16 writable bytes; v128_store needs no alignment.
    unsafe { v128_store(x.as_mut_ptr().cast(), v) }
}

#[inline(always)]
pub(in crate::quant) fn load_bytes<T: bytemuck::Pod>(x: &[T; 16]) -> v128 {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: a reference to 16 readable bytes; v128_load needs no alignment.
    unsafe { v128_load(x.as_ptr().cast()) }
}

#[inline(always)]
pub(in crate::quant) fn store_bytes<T: bytemuck::Pod>(x: &mut [T; 16], v: v128) {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: a reference to 16 writable bytes; v128_store needs no alignment.
    unsafe { v128_store(x.as_mut_ptr().cast(), v) }
}

/// |x|, as bits.
#[inline(always)]
pub(in crate::quant) fn abs(x: v128) -> v128 {
    v128_and(x, u32x4_splat(!SIGN))
}

/// Four f32 to f16, ties to even, overflow to infinity: bits in the low half of each lane. A NaN becomes infinity.
#[inline(always)]
pub(in crate::quant) fn f32_to_f16(x: v128) -> v128 {
    let magnitude = i32x4_min(abs(x), u32x4_splat(0x4780_0000)); // 65536: the first power of two that is infinite
    // Below 2^-14 the result is a subnormal: in the binade of 0.5 an f32's last bit weighs 2^-24, as an f16's does there.
    let subnormal = i32x4_sub(f32x4_add(magnitude, f32x4_splat(0.5)), f32x4_splat(0.5));
    // Else: shift the exponent's bias, then round at bit 13; a carry into the exponent is what it should be.
    let odd = v128_and(u32x4_shr(magnitude, 13), u32x4_splat(1));
    let rebiased = i32x4_add(magnitude, u32x4_splat((15u32.wrapping_sub(127) << 23).wrapping_add(0xfff)));
    let normal = u32x4_shr(i32x4_add(rebiased, odd), 13);
    let is_subnormal = i32x4_lt(magnitude, u32x4_splat(0x3880_0000));
    let sign = u32x4_shr(v128_and(x, u32x4_splat(SIGN)), 16);
    v128_or(sign, v128_bitselect(subnormal, normal, is_subnormal))
}

/// Four f16 (in the low halves of the lanes, the high halves being zero) to f32: exact.
#[inline(always)]
pub(in crate::quant) fn f16_to_f32(bits: v128) -> v128 {
    let magnitude = v128_and(bits, u32x4_splat(0x7fff));
    // The f16's fields at an f32's place are its value times 2^-112, subnormals included.
    let scaled = f32x4_mul(u32x4_shl(magnitude, 13), f32x4_splat(f32::from_bits((127 + 112) << 23)));
    let special = v128_and(i32x4_gt(magnitude, u32x4_splat(0x7bff)), u32x4_splat(INFINITY));
    let sign = u32x4_shl(v128_xor(bits, magnitude), 16);
    v128_or(v128_or(scaled, special), sign)
}

/// The scale of a block as stored: f16, little-endian.
#[inline(always)]
pub(in crate::quant) fn splat_scale(bytes: [u8; 2]) -> v128 {
    f16_to_f32(u32x4_splat(u32::from(u16::from_le_bytes(bytes))))
}

/// Folds four vectors by `op` to one: lane i is the fold of vector i's lanes.
#[inline(always)]
pub(in crate::quant) fn fold_lanes(v: [v128; 4], op: impl Fn(v128, v128) -> v128) -> v128 {
    let pair = |a, b| op(i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
    let (low, high) = (pair(v[0], v[1]), pair(v[2], v[3]));
    op(i64x2_shuffle::<0, 2>(low, high), i64x2_shuffle::<1, 3>(low, high))
}

/// Lane j of vector i becomes lane i of vector j.
#[inline(always)]
pub(in crate::quant) fn transpose(v: [v128; 4]) -> [v128; 4] {
    let (a, b) = (i32x4_shuffle::<0, 4, 1, 5>(v[0], v[1]), i32x4_shuffle::<2, 6, 3, 7>(v[0], v[1]));
    let (c, d) = (i32x4_shuffle::<0, 4, 1, 5>(v[2], v[3]), i32x4_shuffle::<2, 6, 3, 7>(v[2], v[3]));
    [i64x2_shuffle::<0, 2>(a, c), i64x2_shuffle::<1, 3>(a, c), i64x2_shuffle::<0, 2>(b, d), i64x2_shuffle::<1, 3>(b, d)]
}

/// The lanes as an array.
#[inline(always)]
pub(in crate::quant) fn lanes(v: v128) -> [u32; 4] {
    [u32x4_extract_lane::<0>(v), u32x4_extract_lane::<1>(v), u32x4_extract_lane::<2>(v), u32x4_extract_lane::<3>(v)]
}

/// Sixteen signed bytes times a scale.
#[inline(always)]
pub(in crate::quant) fn scale_bytes(bytes: v128, scale: v128, out: &mut [f32; 16]) {
    let halves = [i16x8_extend_low_i8x16(bytes), i16x8_extend_high_i8x16(bytes)];
    for (half, out) in halves.into_iter().zip(out.as_chunks_mut::<8>().0) {
        let (low, high) = (i32x4_extend_low_i16x8(half), i32x4_extend_high_i16x8(half));
        let out = out.as_chunks_mut::<4>().0;
        store(&mut out[0], f32x4_mul(f32x4_convert_i32x4(low), scale));
        store(&mut out[1], f32x4_mul(f32x4_convert_i32x4(high), scale));
    }
}

/// Sixteen floats to integers as [`crate::num::nearest_int`] rounds them, saturated to bytes −128 … 127.
#[inline(always)]
pub(in crate::quant) fn nearest_bytes(v: [v128; 4]) -> v128 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23
    let [a, b, c, d] = v.map(|v| {
        let bits = v128_and(f32x4_add(v, f32x4_splat(MAGIC)), u32x4_splat(0x7f_ffff));
        i32x4_sub(bits, u32x4_splat(0x40_0000))
    });
    i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d))
}
