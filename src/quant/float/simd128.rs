//! The float schemes in SIMD128: strips of 64 weights, each tested once for what cannot be stored.

use super::scalar;
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use core::arch::wasm32::*;

const STRIP: usize = 64;

/// Makes 16 bytes of every `N` weights by `pack`. A strip that holds a magnitude of `limit` (as bits) or more, and what is
/// left after the last strip, goes to the scalar code, which names the fault.
#[inline(always)]
fn quantize<const BYTES: usize, const N: usize>(
    rows: &[f32],
    out: &mut [[u8; BYTES]],
    limit: u32,
    pack: impl Fn(&[f32; N]) -> v128,
    scalar: impl Fn(&[f32], &mut [[u8; BYTES]]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    const { assert!(BYTES * N == 16) };
    let (strips, rest) = rows.as_chunks::<STRIP>();
    let (out_strips, out_rest) = out.as_chunks_mut::<STRIP>();
    for (index, (weights, out)) in strips.iter().zip(out_strips).enumerate() {
        let vectors = weights.as_chunks().0.iter();
        let largest = vectors.fold(i32x4_splat(0), |largest, w| i32x4_max(largest, abs(load(w))));
        if v128_any_true(i32x4_ge(largest, u32x4_splat(limit))) {
            scalar(weights, out).map_err(|fault| fault.after(index * STRIP))?;
            continue;
        }
        for (w, out) in weights.as_chunks().0.iter().zip(out.as_flattened_mut().as_chunks_mut().0) {
            store_bytes(out, pack(w));
        }
    }
    scalar(rest, out_rest).map_err(|fault| fault.after(strips.len() * STRIP))
}

fn pair(w: &[f32; 8]) -> (v128, v128) {
    let w = w.as_chunks().0;
    (load(&w[0]), load(&w[1]))
}

pub(in crate::quant) fn quantize_f32(rows: &[f32], out: &mut [[u8; 4]]) -> Result<(), Fault> {
    quantize(rows, out, INFINITY, load, scalar::quantize_f32)
}

pub(in crate::quant) fn quantize_f16(rows: &[f32], out: &mut [[u8; 2]]) -> Result<(), Fault> {
    const ROUNDS_TO_INFINITY: u32 = 65520f32.to_bits();
    let pack = |w: &[f32; 8]| {
        let (a, b) = pair(w);
        u16x8_narrow_i32x4(f32_to_f16(a), f32_to_f16(b))
    };
    quantize(rows, out, ROUNDS_TO_INFINITY, pack, scalar::quantize_f16)
}

pub(in crate::quant) fn quantize_bf16(rows: &[f32], out: &mut [[u8; 2]]) -> Result<(), Fault> {
    const ROUNDS_TO_INFINITY: u32 = 0x7f7f_8000;
    let round = |x: v128| {
        let odd = v128_and(u32x4_shr(x, 16), u32x4_splat(1));
        u32x4_shr(i32x4_add(i32x4_add(x, u32x4_splat(0x7fff)), odd), 16)
    };
    let pack = |w: &[f32; 8]| {
        let (a, b) = pair(w);
        u16x8_narrow_i32x4(round(a), round(b))
    };
    quantize(rows, out, ROUNDS_TO_INFINITY, pack, scalar::quantize_bf16)
}

/// Makes `N` weights of every 16 bytes by `unpack`, vectors of four; the rest by `scalar`.
#[inline(always)]
fn dequantize<const BYTES: usize, const N: usize, const VECTORS: usize>(
    weights: &[[u8; BYTES]],
    rows: &mut [f32],
    unpack: impl Fn(v128) -> [v128; VECTORS],
    scalar: impl Fn(&[[u8; BYTES]], &mut [f32]),
) {
    const { assert!(BYTES * N == 16 && VECTORS * 4 == N) };
    let (packed, rest) = weights.as_chunks::<N>();
    let (out, out_rest) = rows.as_chunks_mut::<N>();
    for (packed, out) in packed.iter().zip(out) {
        let vectors = unpack(load_bytes(packed.as_flattened().first_chunk().unwrap()));
        for (w, vector) in out.as_chunks_mut().0.iter_mut().zip(vectors) {
            store(w, vector);
        }
    }
    scalar(rest, out_rest);
}

pub(in crate::quant) fn dequantize_f32(weights: &[[u8; 4]], rows: &mut [f32]) {
    dequantize::<4, 4, 1>(weights, rows, |v| [v], scalar::dequantize_f32);
}

pub(in crate::quant) fn dequantize_f16(weights: &[[u8; 2]], rows: &mut [f32]) {
    let unpack = |v| [f16_to_f32(u32x4_extend_low_u16x8(v)), f16_to_f32(u32x4_extend_high_u16x8(v))];
    dequantize::<2, 8, 2>(weights, rows, unpack, scalar::dequantize_f16);
}

pub(in crate::quant) fn dequantize_bf16(weights: &[[u8; 2]], rows: &mut [f32]) {
    let zero = u16x8_splat(0);
    let unpack = |v| {
        let low = i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(zero, v);
        let high = i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(zero, v);
        [low, high]
    };
    dequantize::<2, 8, 2>(weights, rows, unpack, scalar::dequantize_bf16);
}
