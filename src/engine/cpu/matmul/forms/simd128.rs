//! Reading the forms: products with activations (decode), and levels one by one (prefill).

use super::{Form, codes, fifth, form};
use crate::engine::cpu::matmul::simd128::{Columns, LEVELS, load, load_i8};
use crate::engine::cpu::matmul::{BLOCK, simd128::PAIRS};
use crate::engine::levels::Levels;
use core::arch::wasm32::*;

/// Vectors of packed levels in a half of Four.
const FOURS: usize = 4;

#[inline(always)]
fn add_product(sum: &mut v128, weights: v128, x: v128) {
    *sum = i32x4_add(*sum, i32x4_dot_i16x8(weights, x));
}

/// Products of pairs `part · PAIRS / parts` and following of block `n` with both halves' levels, which begin at `at`.
///
/// # Safety
/// [`super::bytes`] stand in `unit` from `at` on; x has a block `n`; `part < parts`, and `parts` is 1 or 2.
#[inline(always)]
pub unsafe fn dot<T: Levels>(unit: &[u8], at: usize, x: Columns, n: usize, part: usize, parts: usize) -> [v128; 2] {
    // SAFETY, for all of the arms: the caller's promise.
    match const { form(&T::SPEC) } {
        Form::Two => unsafe { dot_two(unit, at, x, n, part, parts) },
        Form::Four => unsafe { dot_four(unit, at, x, n, part, parts) },
        Form::Coded | Form::Five => unsafe { dot_bytes::<T>(unit, at, x, n, part, parts) },
        Form::Eight => unsafe { dot_eight(unit, at, x, n, part, parts) },
    }
}

/// A mask leaves level · 4^k, which is multiplied as it is: no shift. The sums of each k are exact, so they are shifted once
/// at the end.
///
/// # Safety
/// As for [`dot`].
#[inline(always)]
unsafe fn dot_two(unit: &[u8], at: usize, x: Columns, n: usize, part: usize, parts: usize) -> [v128; 2] {
    let mut sums = [[i32x4_splat(0); 4]; 2];
    for v in part * 2 / parts..(part + 1) * 2 / parts {
        for (half, sums) in sums.iter_mut().enumerate() {
            // SAFETY: a half is two vectors.
            let low = unsafe { load(unit, at + half * LEVELS / 8 + 16 * v) };
            let high = u16x8_shr(low, 8);
            for (k, sum) in sums.iter_mut().enumerate() {
                let mask = u16x8_splat(3 << (2 * k));
                // SAFETY: eight pairs to a vector.
                let x = unsafe { [x.pair(n, 8 * v + k), x.pair(n, 8 * v + 4 + k)] };
                add_product(sum, v128_and(low, mask), x[0]);
                add_product(sum, v128_and(high, mask), x[1]);
            }
        }
    }
    sums.map(|[a, b, c, d]| {
        let low = i32x4_add(a, i32x4_shr(b, 2));
        i32x4_add(low, i32x4_add(i32x4_shr(c, 4), i32x4_shr(d, 6)))
    })
}

/// As [`dot_two`], with 16^k.
///
/// # Safety
/// As for [`dot`].
#[inline(always)]
unsafe fn dot_four(unit: &[u8], at: usize, x: Columns, n: usize, part: usize, parts: usize) -> [v128; 2] {
    let mut by_one = [i32x4_splat(0); 2];
    let (mut by_16, mut by_256) = (by_one, by_one);
    for v in part * FOURS / parts..(part + 1) * FOURS / parts {
        // SAFETY: four pairs to a vector.
        let x = unsafe { [x.pair(n, 4 * v), x.pair(n, 4 * v + 1), x.pair(n, 4 * v + 2), x.pair(n, 4 * v + 3)] };
        for half in 0..2 {
            // SAFETY: a half is four vectors.
            let packed = unsafe { load(unit, at + half * LEVELS / 4 + 16 * v) };
            add_product(&mut by_one[half], v128_and(packed, u16x8_splat(0x000f)), x[0]);
            add_product(&mut by_16[half], v128_and(packed, u16x8_splat(0x00f0)), x[1]);
            add_product(&mut by_256[half], v128_and(packed, u16x8_splat(0x0f00)), x[2]);
            add_product(&mut by_one[half], u16x8_shr(packed, 12), x[3]);
        }
    }
    [0, 1].map(|half| {
        let sum = i32x4_add(by_one[half], i32x4_shr(by_16[half], 4));
        i32x4_add(sum, i32x4_shr(by_256[half], 8))
    })
}

/// # Safety
/// As for [`dot`].
#[inline(always)]
unsafe fn dot_bytes<T: Levels>(unit: &[u8], at: usize, x: Columns, n: usize, part: usize, parts: usize) -> [v128; 2] {
    let mut sums = [i32x4_splat(0); 2];
    for v in part * FOURS / parts..(part + 1) * FOURS / parts {
        // SAFETY: four pairs to a vector.
        let x = unsafe { [x.pair(n, 4 * v), x.pair(n, 4 * v + 1), x.pair(n, 4 * v + 2), x.pair(n, 4 * v + 3)] };
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let levels = unsafe { four_pairs::<T>(unit, at, v, half) };
            for (levels, x) in levels.into_iter().zip(x) {
                add_product(sum, levels, x);
            }
        }
    }
    sums
}

/// # Safety
/// As for [`dot`].
#[inline(always)]
unsafe fn dot_eight(unit: &[u8], at: usize, x: Columns, n: usize, part: usize, parts: usize) -> [v128; 2] {
    let mut sums = [i32x4_splat(0); 2];
    for pair in part * PAIRS / parts..(part + 1) * PAIRS / parts {
        // SAFETY: a block has so many pairs.
        let x = unsafe { x.pair(n, pair) };
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: eight bytes a pair and half.
            add_product(sum, unsafe { load_i8(unit, at + pair * 16 + 8 * half) }, x);
        }
    }
    sums
}

/// Levels of pairs 4v … 4v + 3 of four rows, in 16 bits each, of Four, Coded and Five.
///
/// # Safety
/// As for [`dot`]; `v < 4`.
#[inline(always)]
unsafe fn four_pairs<T: Levels>(unit: &[u8], at: usize, v: usize, half: usize) -> [v128; 4] {
    // SAFETY: a half is four vectors.
    let packed = unsafe { load(unit, at + half * LEVELS / 4 + 16 * v) };
    let nibble = u8x16_splat(15);
    // Bytes: pairs 4v and 4v + 2 of each lane, then 4v + 1 and 4v + 3.
    let bytes = [v128_and(packed, nibble), v128_and(u16x8_shr(packed, 4), nibble)];
    let [even, odd] = match const { form(&T::SPEC) } {
        Form::Coded => {
            // SAFETY: any 16 bytes are a vector.
            let table = unsafe { core::mem::transmute::<[u8; 16], v128>(const { codes(&T::SPEC) }) };
            bytes.map(|bytes| u8x16_swizzle(table, bytes))
        }
        Form::Five => {
            // SAFETY: the fifth bits are a vector a half, behind the others.
            let bits = unsafe { load(unit, at + LEVELS / 2 + 16 * half) };
            [0, 1].map(|odd| {
                let (_, left) = fifth(v, odd);
                let moved = if left < 0 { u16x8_shr(bits, -left as u32) } else { u16x8_shl(bits, left as u32) };
                v128_or(bytes[odd], v128_and(moved, u8x16_splat(16)))
            })
        }
        _ => bytes,
    };
    let low = u16x8_splat(0xff);
    [v128_and(even, low), v128_and(odd, low), u16x8_shr(even, 8), u16x8_shr(odd, 8)]
}

/// Hands every pair's levels of every half to `take(pair, half, levels)`.
///
/// # Safety
/// [`super::bytes`] stand in `unit` from `at` on.
#[inline(always)]
pub unsafe fn unpack<T: Levels>(unit: &[u8], at: usize, mut take: impl FnMut(usize, usize, v128)) {
    for half in 0..2 {
        match const { form(&T::SPEC) } {
            Form::Two => {
                for pair in 0..PAIRS {
                    // SAFETY: two vectors a half, eight pairs to a vector.
                    let packed = unsafe { load(unit, at + half * LEVELS / 8 + pair / 8 * 16) };
                    take(pair, half, v128_and(u16x8_shr(packed, pair as u32 % 8 * 2), u16x8_splat(3)));
                }
            }
            Form::Eight => {
                for pair in 0..PAIRS {
                    // SAFETY: eight bytes a pair and half.
                    take(pair, half, unsafe { load_i8(unit, at + pair * 16 + 8 * half) });
                }
            }
            Form::Four | Form::Coded | Form::Five => {
                for v in 0..FOURS {
                    // SAFETY: the caller's promise.
                    let levels = unsafe { four_pairs::<T>(unit, at, v, half) };
                    for (k, levels) in levels.into_iter().enumerate() {
                        take(4 * v + k, half, levels);
                    }
                }
            }
        }
    }
}

const _: () = assert!(PAIRS == 16 && BLOCK == 32);
