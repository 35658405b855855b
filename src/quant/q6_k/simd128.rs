//! Q6_K in SIMD128. The search runs on four sub-blocks at once, one a lane: each lane sums in the reference's order, so
//! its floats are the reference's floats.

use super::scalar;
use super::{Block, GROUP, SUB};
use crate::num::round_half_even;
use crate::quant::fault::{Fault, extreme, scale_to_f16};
use crate::quant::search::TINY;
use crate::quant::simd128::*;
use crate::quant::super_block::for_each;
use core::arch::wasm32::*;

/// Sub-blocks that are searched at once.
const LANES: usize = 4;
/// Such quads in a block.
const QUADS: usize = GROUP / SUB / LANES;
/// 1.5 · 2^23: added to a float of magnitude up to 2^22, it leaves the nearest integer (ties to even) in the low bits.
const MAGIC: f32 = 12_582_912.0;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        if importance.is_none() && quantize_block(weights, block) {
            return Ok(());
        }
        scalar::quantize_block(weights, importance, block)
    })
}

/// A block, or false where it needs the scalar code to name the fault.
fn quantize_block(weights: &[f32; GROUP], block: &mut Block) -> bool {
    let subs = weights.as_chunks::<SUB>().0;
    let quads: [Found; QUADS] = std::array::from_fn(|quad| search(&subs[quad * LANES..][..LANES]));
    let mut scales = [0f32; GROUP / SUB];
    for (found, scales) in quads.iter().zip(scales.as_chunks_mut().0) {
        store(scales, found.scale);
    }
    let Ok(extreme) = extreme(&scales) else { return false };
    *block = bytemuck::Zeroable::zeroed();
    if extreme.abs() < TINY {
        return true;
    }

    let inverse = -128.0 / extreme;
    let Ok(stored) = scale_to_f16(1.0 / inverse) else { return false };
    block.scale = stored.to_le_bytes();
    let block_scale = crate::num::f16_to_f32(stored);
    let mut levels = [0u8; GROUP];
    for (s, (sub, levels)) in subs.iter().zip(levels.as_chunks_mut::<SUB>().0).enumerate() {
        block.scales[s] = round_half_even(inverse * scales[s]).min(127.0) as i8;
        let scale = block_scale * f32::from(block.scales[s]);
        let sub = sub.as_chunks::<4>().0;
        let divide = |i: usize| f32x4_div(load(&sub[i]), f32x4_splat(scale));
        if scale != 0.0 {
            store_bytes(levels, pack_levels([divide(0), divide(1), divide(2), divide(3)]));
        } else if sub.as_flattened().iter().any(|w| w.abs() >= TINY) {
            // The search's levels: they decode to zero, but they are what ggml writes.
            let best = f32x4_splat(f32::from_bits(lanes(quads[s / LANES].inverse)[s % LANES]));
            let multiply = |i: usize| f32x4_mul(load(&sub[i]), best);
            store_bytes(levels, pack_levels([multiply(0), multiply(1), multiply(2), multiply(3)]));
        }
    }
    interleave(&levels, block);
    true
}

/// The outcome of a search, a lane each: the best scale, and the inverse whose levels led to it.
struct Found {
    scale: v128,
    inverse: v128,
}

/// Tries 19 scales for each of four sub-blocks.
#[inline(always)]
fn search(subs: &[[f32; SUB]]) -> Found {
    // Element i of the four sub-blocks, then its square, then its cube.
    let zero = f32x4_splat(0.0);
    let mut x = [[zero; 3]; SUB];
    for i in 0..SUB / 4 {
        let column = |lane: usize| load(&subs[lane].as_chunks().0[i]);
        let rows = transpose([column(0), column(1), column(2), column(3)]);
        for (x, row) in x[4 * i..].iter_mut().zip(rows) {
            let square = f32x4_mul(row, row);
            *x = [row, square, f32x4_mul(square, row)];
        }
    }
    let (mut largest, mut extreme) = (zero, zero);
    for [x, ..] in x {
        let magnitude = abs(x);
        extreme = v128_bitselect(x, extreme, i32x4_gt(magnitude, largest));
        largest = i32x4_max(largest, magnitude);
    }
    // Infinity and NaN pass as NaN scales to the caller, whatever the search makes of them.
    let unfit = i32x4_ge(largest, u32x4_splat(INFINITY));

    let inverse = f32x4_div(f32x4_splat(-32.0), extreme);
    let [(wl, ll)] = sums::<1, true, true>(&x, [inverse]);
    let scale = v128_and(f32x4_div(wl, ll), f32x4_ne(ll, zero));
    let mut best = Best { scale, inverse, worth: f32x4_mul(scale, wl) };
    // Levels from steps up to −6 need no bound (32 − 0.6 rounds to 31), steps up to 4 none below (32.4 rounds to 32).
    for step in [-9, -7] {
        best.offer::<2, false, false>(&x, extreme, step);
    }
    for step in [-5, -3] {
        best.offer::<2, false, true>(&x, extreme, step);
    }
    best.offer::<1, false, true>(&x, extreme, -1);
    for step in [1, 3] {
        best.offer::<2, false, true>(&x, extreme, step);
    }
    for step in [5, 7] {
        best.offer::<2, true, true>(&x, extreme, step);
    }
    best.offer::<1, true, true>(&x, extreme, 9);
    let tiny = f32x4_lt(largest, f32x4_splat(TINY));
    Found { scale: v128_or(v128_andnot(best.scale, tiny), unfit), inverse: best.inverse }
}

struct Best {
    scale: v128,
    inverse: v128,
    worth: v128,
}

impl Best {
    /// Tries the inverses −(32 + 0.1·step) / extreme for `N` steps from `step` on, in order.
    #[inline(always)]
    fn offer<const N: usize, const BELOW: bool, const ABOVE: bool>(
        &mut self,
        x: &[[v128; 3]; SUB],
        extreme: v128,
        step: i32,
    ) {
        let inverses: [v128; N] =
            std::array::from_fn(|i| f32x4_div(f32x4_splat(-(32.0 + 0.1 * (step + i as i32) as f32)), extreme));
        for ((wl, ll), inverse) in sums::<N, BELOW, ABOVE>(x, inverses).into_iter().zip(inverses) {
            let better = f32x4_gt(f32x4_mul(wl, wl), f32x4_mul(self.worth, ll));
            let better = v128_and(better, f32x4_gt(ll, f32x4_splat(0.0)));
            let scale = f32x4_div(wl, ll);
            self.scale = v128_bitselect(scale, self.scale, better);
            self.worth = v128_bitselect(f32x4_mul(scale, wl), self.worth, better);
            self.inverse = v128_bitselect(inverse, self.inverse, better);
        }
    }
}

/// Σ w²·w·l and Σ w²·l² for the levels l that each of `N` inverses gives; bounded to −32 (`BELOW`) and 31 (`ABOVE`).
#[inline(always)]
fn sums<const N: usize, const BELOW: bool, const ABOVE: bool>(
    x: &[[v128; 3]; SUB],
    inverses: [v128; N],
) -> [(v128, v128); N] {
    let mut sums = [(f32x4_splat(0.0), f32x4_splat(0.0)); N];
    for [w, square, cube] in x {
        for ((wl, ll), inverse) in sums.iter_mut().zip(inverses) {
            // −0 where the reference has 0: it adds ±0 to sums that are never −0, which changes nothing.
            let mut level = f32x4_nearest(f32x4_mul(inverse, *w));
            if BELOW {
                level = f32x4_pmax(level, f32x4_splat(-32.0));
            }
            if ABOVE {
                level = f32x4_pmin(level, f32x4_splat(31.0));
            }
            *wl = f32x4_add(*wl, f32x4_mul(*cube, level));
            *ll = f32x4_add(*ll, f32x4_mul(f32x4_mul(*square, level), level));
        }
    }
    sums
}

/// Sixteen levels: rounded, bounded, 32 added.
#[inline(always)]
fn pack_levels(v: [v128; 4]) -> v128 {
    let [a, b, c, d] = v.map(|v| i32x4_sub(f32x4_add(v, f32x4_splat(MAGIC)), f32x4_splat(MAGIC)));
    let bytes = i8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
    i8x16_add(i8x16_min(i8x16_max(bytes, i8x16_splat(-32)), i8x16_splat(31)), i8x16_splat(32))
}

fn interleave(levels: &[u8; GROUP], block: &mut Block) {
    let halves = levels.as_chunks::<128>().0.iter();
    for ((q, low), high) in halves.zip(block.low.as_chunks_mut::<64>().0).zip(block.high.as_chunks_mut::<32>().0) {
        let (q, low, high) = (q.as_chunks::<16>().0, low.as_chunks_mut::<16>().0, high.as_chunks_mut::<16>().0);
        for i in 0..2 {
            let q = [load_bytes(&q[i]), load_bytes(&q[i + 2]), load_bytes(&q[i + 4]), load_bytes(&q[i + 6])];
            let nibble = |q| v128_and(q, u8x16_splat(15));
            // Shifts by 16-bit lanes: no bit that matters crosses a byte.
            store_bytes(&mut low[i], v128_or(nibble(q[0]), u16x8_shl(nibble(q[2]), 4)));
            store_bytes(&mut low[i + 2], v128_or(nibble(q[1]), u16x8_shl(nibble(q[3]), 4)));
            let top = |q| v128_and(q, u8x16_splat(0x30));
            let first = v128_or(u16x8_shr(top(q[0]), 4), u16x8_shr(top(q[1]), 2));
            store_bytes(&mut high[i], v128_or(first, v128_or(top(q[2]), u16x8_shl(top(q[3]), 2))));
        }
    }
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let block_scale = splat_scale(block.scale);
        let halves = weights.as_chunks_mut::<128>().0.iter_mut();
        let planes = block.low.as_chunks::<64>().0.iter().zip(block.high.as_chunks::<32>().0);
        for ((w, (low, high)), scales) in halves.zip(planes).zip(block.scales.as_chunks::<8>().0) {
            let (low, high) = (low.as_chunks::<16>().0, high.as_chunks::<16>().0);
            for (i, w) in w.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let (low, high) = (load_bytes(&low[i % 4]), load_bytes(&high[i % 2]));
                let low = if i < 4 { v128_and(low, u8x16_splat(15)) } else { u8x16_shr(low, 4) };
                let high = match i / 2 {
                    0 => u16x8_shl(high, 4),
                    1 => u16x8_shl(high, 2),
                    2 => high,
                    _ => u16x8_shr(high, 2),
                };
                let level = v128_or(low, v128_and(high, u8x16_splat(0x30)));
                let scale = f32x4_mul(block_scale, f32x4_splat(f32::from(scales[i])));
                scale_bytes(i8x16_sub(level, i8x16_splat(32)), scale, w);
            }
        }
    }
}
