//! TQ1_0 in SIMD128.

use super::{Block, GROUP, scalar};
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use crate::quant::tq2_0::simd128::trits;
use core::arch::wasm32::*;

/// ⌈n · 256 / 243⌉
const FRACTIONS: [u8; 243] = {
    let mut fractions = [0; 243];
    let mut n = 0;
    while n < 243 {
        fractions[n] = (n * 256).div_ceil(243) as u8;
        n += 1;
    }
    fractions
};

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks::<GROUP>().0.iter().zip(&mut *blocks).enumerate() {
        let Some((trits, scale)) = trits(weights) else {
            scalar::quantize(weights, std::slice::from_mut(block)).map_err(|fault| fault.after(index * GROUP))?;
            continue;
        };
        block.scale = scale;
        // Five digits a byte; in the last strip of four bytes, digit n stands in bytes 4n … 4n + 3 of the last vector.
        let number = |digits: [v128; 5]| {
            digits.into_iter().fold(u8x16_splat(0), |n, digit| i8x16_add(i8x16_add(n, n), i8x16_add(n, digit)))
        };
        let mut numbers = [[0u8; 16]; 4];
        store_bytes(&mut numbers[0], number([0, 2, 4, 6, 8].map(|i| trits[i])));
        store_bytes(&mut numbers[1], number([1, 3, 5, 7, 9].map(|i| trits[i])));
        store_bytes(&mut numbers[2], number([10, 11, 12, 13, 14].map(|i| trits[i])));
        let last = trits[15];
        let digits = [
            last,
            i32x4_shuffle::<1, 1, 1, 1>(last, last),
            i32x4_shuffle::<2, 2, 2, 2>(last, last),
            i32x4_shuffle::<3, 3, 3, 3>(last, last),
            u8x16_splat(0),
        ];
        store_bytes(&mut numbers[3], number(digits));
        for (byte, number) in block.trits.iter_mut().zip(numbers.as_flattened()) {
            *byte = FRACTIONS[usize::from(*number)];
        }
    }
    Ok(())
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = splat_scale(block.scale);
        let (bytes, last) = block.trits.as_chunks::<16>();
        let out = weights.as_chunks_mut().0;
        for (n, power) in [1, 3, 9, 27, 81].into_iter().enumerate() {
            // Strips of 32, 32 and 16 bytes a digit.
            for (i, to) in [(0, 2 * n), (1, 2 * n + 1), (2, 10 + n)] {
                scale_bytes(digits(load_bytes(&bytes[i]), u16x8_splat(power)), scale, &mut out[to]);
            }
        }
        // The four digits of the last four bytes, all in one vector.
        let last = u32x4_splat(u32::from_le_bytes([last[0], last[1], last[2], last[3]]));
        let (low, high) = (u16x8(1, 1, 1, 1, 3, 3, 3, 3), u16x8(9, 9, 9, 9, 27, 27, 27, 27));
        let halves = (digit(u16x8_extend_low_u8x16(last), low), digit(u16x8_extend_high_u8x16(last), high));
        scale_bytes(i8x16_narrow_i16x8(halves.0, halves.1), scale, &mut out[15]);
    }
}

/// Of sixteen bytes the digit that multiplication by `power` brings to the front, less 1.
#[inline(always)]
fn digits(bytes: v128, power: v128) -> v128 {
    let (low, high) = (u16x8_extend_low_u8x16(bytes), u16x8_extend_high_u8x16(bytes));
    i8x16_narrow_i16x8(digit(low, power), digit(high, power))
}

#[inline(always)]
fn digit(byte: v128, power: v128) -> v128 {
    let fraction = v128_and(i16x8_mul(byte, power), u16x8_splat(255));
    i16x8_sub(u16x8_shr(i16x8_mul(fraction, u16x8_splat(3)), 8), u16x8_splat(1))
}
