//! Q6_K in SIMD128. The search runs on four sub-blocks at once, one a lane: each lane sums in the reference's order, so
//! its floats are the reference's floats.

use super::scalar;
use super::{Block, GROUP, SUB};
use crate::num::round_half_even;
use crate::quant::fault::{Fault, extreme, scale_to_f16};
use crate::quant::search::TINY;
use crate::quant::search::simd128::{Symmetric, columns, symmetric};
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
        if quantize_block(weights, importance, block) {
            return Ok(());
        }
        scalar::quantize_block(weights, importance, block)
    })
}

/// A block, or false where it needs the scalar code to name the fault.
fn quantize_block(weights: &[f32; GROUP], importance: Option<&[f32; GROUP]>, block: &mut Block) -> bool {
    let subs = weights.as_chunks::<SUB>().0;
    let quads: [Symmetric; QUADS] = std::array::from_fn(|quad| {
        search(
            &subs[quad * LANES..][..LANES],
            importance.map(|importance| &importance.as_chunks().0[quad * LANES..][..LANES]),
        )
    });
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

/// Tries 19 scales for each of four sub-blocks.
#[inline(always)]
fn search(subs: &[[f32; SUB]], importance: Option<&[[f32; SUB]]>) -> Symmetric {
    let x: [[v128; 1]; SUB] = columns(subs);
    let weights: [[v128; 1]; SUB] = match importance {
        None => x.map(|[x]| [f32x4_mul(x, x)]),
        Some(importance) => columns(importance),
    };
    symmetric::<SUB, 32>(&std::array::from_fn(|i| [x[i][0], weights[i][0], f32x4_mul(weights[i][0], x[i][0])]))
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
