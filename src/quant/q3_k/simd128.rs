//! Q3_K in SIMD128: all sixteen sub-blocks at once, four vectors of four lanes, so that one's divisions overlap with
//! another's.

use super::{Block, SUB, SUBS, scalar, unpack_scales};
use crate::num::f16_to_f32;
use crate::quant::fault::Fault;
use crate::quant::search::TINY;
use crate::quant::search::simd128::{any, columns, not_finite, symmetric};
use crate::quant::simd128::*;
use crate::quant::super_block::simd128::{pairs, symmetric_levels, weigh};
use crate::quant::super_block::{GROUP, for_each};
use core::arch::wasm32::*;

/// Vectors that hold a number of each sub-block.
const QUADS: usize = SUBS / 4;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        if quantize_block(weights, importance, block)? {
            return Ok(());
        }
        scalar::quantize_block(weights, importance, block)
    })
}

/// A block, or false where it needs the scalar code.
fn quantize_block(weights: &[f32; GROUP], importance: Option<&[f32; GROUP]>, block: &mut Block) -> Result<bool, Fault> {
    let subs = weights.as_chunks::<SUB>().0;
    let x = columns(subs);
    if not_finite(&x) {
        return Ok(false);
    }
    let (mut scales, mut worth) = ([0f32; SUBS], [0f32; SUBS]);
    let mut spread = 0.0;
    let found = if let Some(importance) = importance {
        spread = scalar::spread(weights);
        let weights = weigh(spread, &x, &columns(importance.as_chunks().0));
        std::array::from_fn(|q| {
            let sum = weights.iter().fold(f32x4_splat(0.0), |sum, weight| f32x4_add(sum, weight[q]));
            store(&mut worth.as_chunks_mut().0[q], sum);
            let weighted = std::array::from_fn(|i| [x[i][q], weights[i][q], f32x4_mul(weights[i][q], x[i][q])]);
            symmetric::<SUB, 4>(&weighted).scale
        })
    } else {
        descend(&x)
    };
    for (found, scales) in found.into_iter().zip(scales.as_chunks_mut().0) {
        store(scales, found);
    }
    scalar::quantize_scales(&scales, importance.is_some().then_some(&worth), block)?;
    let scale = f16_to_f32(u16::from_le_bytes(block.scale));
    let mut levels = [0u8; GROUP];
    for (s, byte) in unpack_scales(&block.scales).into_iter().enumerate() {
        let scale = scale * f32::from(byte);
        let levels = &mut levels.as_chunks_mut::<SUB>().0[s];
        if scale != 0.0 {
            symmetric_levels(4, scale, &subs[s], levels);
        } else if subs[s].iter().any(|w| w.abs() >= TINY) {
            let importance = importance.map(|importance| &importance.as_chunks().0[s]);
            scalar::search(spread, &subs[s], importance, levels)?;
        }
    }
    scalar::pack(&levels, block);
    Ok(true)
}

/// The scales that `scalar::descend` finds for sub-blocks of finite weights, one a lane.
#[inline(always)]
fn descend(x: &[[v128; QUADS]; SUB]) -> [v128; QUADS] {
    let zero = f32x4_splat(0.0);
    let mut largest = [zero; QUADS];
    let mut extreme = [zero; QUADS];
    for x in x {
        for q in 0..QUADS {
            let magnitude = abs(x[q]);
            extreme[q] = v128_bitselect(x[q], extreme[q], i32x4_gt(magnitude, largest[q]));
            largest[q] = i32x4_max(largest[q], magnitude);
        }
    }
    let mut levels = [[zero; QUADS]; SUB];
    let (mut wl, mut ll) = ([zero; QUADS], [zero; QUADS]);
    let inverse = extreme.map(|extreme| f32x4_div(f32x4_splat(-4.0), extreme));
    for (x, levels) in x.iter().zip(&mut levels) {
        for q in 0..QUADS {
            let (w, square) = (x[q], f32x4_mul(x[q], x[q]));
            // −4 at least, as no weight is larger; a lane of zeros has NaN here, and is masked at the end
            let level = f32x4_pmin(f32x4_splat(3.0), f32x4_nearest(f32x4_mul(inverse[q], w)));
            levels[q] = level;
            wl[q] = f32x4_add(wl[q], f32x4_mul(f32x4_mul(square, w), level));
            ll[q] = f32x4_add(ll[q], f32x4_mul(f32x4_mul(square, level), level));
        }
    }
    for _ in 0..5 {
        let mut changed = [zero; QUADS];
        for (x, levels) in x.iter().zip(&mut levels) {
            for q in 0..QUADS {
                let (w, level) = (x[q], levels[q]);
                let square = f32x4_mul(w, w);
                let cube = f32x4_mul(square, w);
                let others_wl = f32x4_sub(wl[q], f32x4_mul(cube, level));
                let others_ll = f32x4_sub(ll[q], f32x4_mul(f32x4_mul(square, level), level));
                let new = nearest_level(f32x4_div(f32x4_mul(w, others_ll), others_wl));
                let moves = v128_and(f32x4_gt(others_wl, zero), f32x4_ne(new, level));
                let new_wl = f32x4_add(others_wl, f32x4_mul(cube, new));
                let new_ll = f32x4_add(others_ll, f32x4_mul(f32x4_mul(square, new), new));
                let gain = f32x4_mul(f32x4_mul(new_wl, new_wl), ll[q]);
                let loss = f32x4_mul(f32x4_mul(wl[q], wl[q]), new_ll);
                let better = v128_and(f32x4_gt(new_ll, zero), f32x4_gt(gain, loss));
                let moves = v128_and(moves, better);
                levels[q] = v128_bitselect(new, level, moves);
                wl[q] = v128_bitselect(new_wl, wl[q], moves);
                ll[q] = v128_bitselect(new_ll, ll[q], moves);
                changed[q] = v128_or(changed[q], moves);
            }
        }
        // A round without a change would be followed by others like it: lanes that are done may go on.
        if !any(changed) {
            break;
        }
    }
    std::array::from_fn(|q| {
        let scale = v128_and(f32x4_div(wl[q], ll[q]), f32x4_gt(ll[q], zero));
        v128_andnot(scale, f32x4_lt(largest[q], f32x4_splat(TINY)))
    })
}

/// Four floats to levels as `nearest_int` rounds them, whatever they are, bounded to −4 … 3.
#[inline(always)]
fn nearest_level(x: v128) -> v128 {
    let bits = v128_and(f32x4_add(x, f32x4_splat(12_582_912.0)), u32x4_splat(0x7f_ffff));
    let bounded = i32x4_min(i32x4_max(bits, i32x4_splat(0x40_0000 - 4)), i32x4_splat(0x40_0000 + 3));
    // The integer as a float again: its bits are the low ones of 1.5 · 2^23 + it.
    f32x4_sub(v128_or(bounded, u32x4_splat(0x4b00_0000)), f32x4_splat(12_582_912.0))
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = splat_scale(block.scale);
        let scales = unpack_scales(&block.scales);
        for (s, w) in weights.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
            let low = pairs(load_bytes(&block.low.as_chunks().0[s / 8 * 2 + s % 2]), (s % 8 / 2 * 2) as u32);
            let high = u8x16_shr(load_bytes(&block.high.as_chunks().0[s % 2]), s as u32 / 2);
            let level = v128_or(low, u8x16_shl(v128_and(high, u8x16_splat(1)), 2));
            let scale = f32x4_mul(scale, f32x4_splat(f32::from(scales[s])));
            scale_bytes(i8x16_sub(level, i8x16_splat(4)), scale, w);
        }
    }
}
