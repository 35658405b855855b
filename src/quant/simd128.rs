//! What the SIMD128 kernels share: loads and stores of fixed arrays, f16 in vectors, sums across lanes.
//!
//! Bit tricks on f32 lanes treat them as i32: for numbers of one sign, order of bits is order of magnitudes, and every
//! infinity and NaN lies above every finite number.

use super::fault::Fault;
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

/// Sixteen unsigned bytes times a scale, plus an offset.
#[inline(always)]
pub(in crate::quant) fn scale_and_offset_bytes(bytes: v128, scale: v128, offset: v128, out: &mut [f32; 16]) {
    scale_bytes(bytes, scale, out);
    for out in out.as_chunks_mut::<4>().0 {
        let v = f32x4_add(load(out), offset);
        store(out, v);
    }
}

/// Four vectors of whole numbers 0 … 255 as sixteen bytes.
#[inline(always)]
pub(in crate::quant) fn floats_to_bytes(v: [v128; 4]) -> v128 {
    // Adding 2^23 brings a whole number to the low bits.
    let magic = f32x4_splat(8_388_608.0);
    let [a, b, c, d] = v.map(|v| v128_xor(f32x4_add(v, magic), magic));
    u8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d))
}

/// The nibbles of `crate::quant::nibbles`: levels below 16, those of weights 0 … 15 and 16 … 31.
#[inline(always)]
pub(in crate::quant) fn pack_nibbles(low: v128, high: v128) -> v128 {
    v128_or(low, u16x8_shl(high, 4)) // no bit crosses a byte
}

/// The other way.
#[inline(always)]
pub(in crate::quant) fn unpack_nibbles(bytes: v128) -> [v128; 2] {
    [v128_and(bytes, u8x16_splat(15)), u8x16_shr(bytes, 4)]
}

/// The fifth bits of levels below 32, as `crate::quant::nibbles::fifth_bits`.
#[inline(always)]
pub(in crate::quant) fn fifth_bits(low: v128, high: v128) -> [u8; 4] {
    let bits = |levels| u32::from(u8x16_bitmask(u16x8_shl(levels, 3))); // bit 4 becomes the sign
    (bits(low) | bits(high) << 16).to_le_bytes()
}

/// 16 in each byte whose bit is set, of weights 0 … 15 and 16 … 31.
#[inline(always)]
pub(in crate::quant) fn unpack_fifth_bits(bits: [u8; 4]) -> [v128; 2] {
    let all = u32x4_splat(u32::from_le_bytes(bits));
    let bit = u8x16(1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);
    let spread = |bytes| v128_and(u8x16_eq(v128_and(bytes, bit), bit), u8x16_splat(16));
    [
        spread(i8x16_shuffle::<0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1>(all, all)),
        spread(i8x16_shuffle::<2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3>(all, all)),
    ]
}

/// Quantizes four blocks at a time by `vector`; those that it refuses, and what is left, by `scalar`, which knows faults by
/// their names. `WEIGHTS`: those of four blocks.
#[inline(always)]
pub(in crate::quant) fn four_by_four<const WEIGHTS: usize, Block>(
    rows: &[f32],
    blocks: &mut [Block],
    vector: impl Fn(&[f32; WEIGHTS], &mut [Block; 4]) -> bool,
    scalar: impl Fn(&[f32], &mut [Block]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (quads, rest) = rows.as_chunks::<WEIGHTS>();
    let (block_quads, block_rest) = blocks.as_chunks_mut::<4>();
    for (index, (weights, blocks)) in quads.iter().zip(block_quads).enumerate() {
        if !vector(weights, blocks) {
            scalar(weights, blocks).map_err(|fault| fault.after(index * WEIGHTS))?;
        }
    }
    scalar(rest, block_rest).map_err(|fault| fault.after(quads.len() * WEIGHTS))
}

/// For each of four groups the weight of largest magnitude, the first of them; anything that is not finite where the group
/// holds something that is not finite.
#[inline(always)]
pub(in crate::quant) fn extremes<const GROUP: usize>(groups: &[[f32; GROUP]]) -> v128 {
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
    if v128_any_true(tie) { first_of_magnitudes(groups, extreme, tie) } else { extreme }
}

/// `found` with its marked lanes replaced by the first weight of the same magnitude in their groups.
#[cold]
pub(in crate::quant) fn first_of_magnitudes<const GROUP: usize>(
    groups: &[[f32; GROUP]],
    found: v128,
    marked: v128,
) -> v128 {
    let (mut found, marked) = (lanes(found), i32x4_bitmask(marked));
    for (i, found) in found.iter_mut().enumerate().filter(|(i, _)| marked >> i & 1 != 0) {
        let first = groups[i].iter().map(|w| w.to_bits()).find(|bits| (bits ^ *found) & !SIGN == 0);
        *found = first.unwrap_or(*found);
    }
    u32x4(found[0], found[1], found[2], found[3])
}

/// For each of four groups the least and the greatest weight, where these are ±0 the first zero; anything that is not
/// finite where the group holds something that is not finite.
#[inline(always)]
pub(in crate::quant) fn ranges<const GROUP: usize>(groups: &[[f32; GROUP]]) -> (v128, v128) {
    // Of the bits, as in `extremes`: the largest signed integer is the greatest weight, if any is positive, the largest
    // unsigned integer the least, if any is negative. Where all have one sign, the smallest signed integer is the weight
    // of the smallest magnitude.
    let fold = |group: &[f32; GROUP]| {
        let start = load(group.first_chunk().unwrap());
        group.as_chunks().0.iter().fold((start, start, start), |(positive, negative, smallest), w| {
            let w = load(w);
            (i32x4_max(positive, w), u32x4_max(negative, w), i32x4_min(smallest, w))
        })
    };
    let [a, b, c, d] = [fold(&groups[0]), fold(&groups[1]), fold(&groups[2]), fold(&groups[3])];
    let positive = fold_lanes([a.0, b.0, c.0, d.0], |a, b| i32x4_max(a, b));
    let negative = fold_lanes([a.1, b.1, c.1, d.1], |a, b| u32x4_max(a, b));
    let smallest = fold_lanes([a.2, b.2, c.2, d.2], |a, b| i32x4_min(a, b));
    let least = v128_bitselect(negative, smallest, i32x4_shr(negative, 31));
    let greatest = v128_bitselect(smallest, positive, i32x4_shr(positive, 31));
    let zero = f32x4_eq(least, f32x4_splat(0.0));
    if v128_any_true(zero) { (first_of_magnitudes(groups, least, zero), greatest) } else { (least, greatest) }
}

/// Lanes whose magnitude is infinite or NaN.
#[inline(always)]
pub(in crate::quant) fn not_finite(x: v128) -> v128 {
    i32x4_ge(abs(x), u32x4_splat(INFINITY))
}

/// As [`not_finite`], of f16 in the low halves of the lanes.
#[inline(always)]
pub(in crate::quant) fn not_finite_f16(x: v128) -> v128 {
    i32x4_ge(v128_and(x, u32x4_splat(0x7fff)), u32x4_splat(0x7c00))
}
