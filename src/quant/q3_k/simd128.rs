//! Q3_K in SIMD128: all sixteen sub-blocks at once, four vectors of four lanes, so that one's divisions overlap with
//! another's.

use super::{Block, SUB, SUBS, scalar, unpack_scales};
use crate::num::f16_to_f32;
use crate::quant::fault::Fault;
use crate::quant::search::TINY;
use crate::quant::search::simd128::{columns, largest};
use crate::quant::simd128::*;
use crate::quant::super_block::{GROUP, for_each};
use core::arch::wasm32::*;

pub(in crate::quant) use super::scalar::dequantize;

/// Vectors that hold a number of each sub-block.
const QUADS: usize = SUBS / 4;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        if importance.is_none() && quantize_block(weights, block)? {
            return Ok(());
        }
        scalar::quantize_block(weights, importance, block)
    })
}

/// A block, or false where it needs the scalar code.
fn quantize_block(weights: &[f32; GROUP], block: &mut Block) -> Result<bool, Fault> {
    let subs = weights.as_chunks::<SUB>().0;
    let quads = subs.as_chunks().0;
    let Some(found) = descend(&std::array::from_fn(|quad| columns(&quads[quad]))) else { return Ok(false) };
    let mut scales = [0f32; SUBS];
    for (found, scales) in found.into_iter().zip(scales.as_chunks_mut().0) {
        store(scales, found);
    }
    scalar::quantize_scales(&scales, None, block)?;
    let scale = f16_to_f32(u16::from_le_bytes(block.scale));
    let mut levels = [0u8; GROUP];
    for (s, byte) in unpack_scales(&block.scales).into_iter().enumerate() {
        let scale = scale * f32::from(byte);
        let levels = &mut levels.as_chunks_mut::<SUB>().0[s];
        if scale != 0.0 {
            let w = subs[s].as_chunks().0;
            let divide = |i: usize| f32x4_div(load(&w[i]), f32x4_splat(scale));
            let bytes = nearest_bytes([divide(0), divide(1), divide(2), divide(3)]);
            let bytes = i8x16_min(i8x16_max(bytes, i8x16_splat(-4)), i8x16_splat(3));
            store_bytes(levels, i8x16_add(bytes, i8x16_splat(4)));
        } else if scales[s] != 0.0 {
            scalar::descend(&subs[s], levels);
        }
    }
    scalar::pack(&levels, block);
    Ok(true)
}

/// The scales that `scalar::descend` finds for sub-blocks, one a lane; `None` where a weight is not finite.
#[inline(always)]
fn descend(x: &[[v128; SUB]; QUADS]) -> Option<[v128; QUADS]> {
    let zero = f32x4_splat(0.0);
    let mut unfit = zero;
    let mut tiny = [zero; QUADS];
    let mut levels = [[zero; SUB]; QUADS];
    // Of each weight its square and cube.
    let mut powers = [[[zero; 2]; SUB]; QUADS];
    let (mut wl, mut ll) = ([zero; QUADS], [zero; QUADS]);
    for q in 0..QUADS {
        let magnitude = largest(&x[q]);
        unfit = v128_or(unfit, i32x4_ge(magnitude, u32x4_splat(INFINITY)));
        tiny[q] = f32x4_lt(magnitude, f32x4_splat(TINY));
        // The first of the largest: found from the last to the first.
        let extreme = x[q].iter().rev().fold(zero, |found, x| v128_bitselect(*x, found, i32x4_eq(abs(*x), magnitude)));
        let inverse = f32x4_div(f32x4_splat(-4.0), extreme);
        for i in 0..SUB {
            let w = x[q][i];
            // −4 at least, as no weight is larger; a lane of zeros has NaN here, and is masked at the end
            let level = f32x4_pmin(f32x4_splat(3.0), f32x4_nearest(f32x4_mul(inverse, w)));
            let square = f32x4_mul(w, w);
            let cube = f32x4_mul(square, w);
            levels[q][i] = level;
            powers[q][i] = [square, cube];
            wl[q] = f32x4_add(wl[q], f32x4_mul(cube, level));
            ll[q] = f32x4_add(ll[q], f32x4_mul(f32x4_mul(square, level), level));
        }
    }
    if v128_any_true(unfit) {
        return None;
    }
    for _ in 0..5 {
        let mut changed = zero;
        for i in 0..SUB {
            for q in 0..QUADS {
                let (w, [square, cube], level) = (x[q][i], powers[q][i], levels[q][i]);
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
                levels[q][i] = v128_bitselect(new, level, moves);
                wl[q] = v128_bitselect(new_wl, wl[q], moves);
                ll[q] = v128_bitselect(new_ll, ll[q], moves);
                changed = v128_or(changed, moves);
            }
        }
        // A round without a change would be followed by others like it: lanes that are done may go on.
        if !v128_any_true(changed) {
            break;
        }
    }
    Some(std::array::from_fn(|q| {
        let scale = v128_and(f32x4_div(wl[q], ll[q]), f32x4_gt(ll[q], zero));
        v128_andnot(scale, tiny[q])
    }))
}

/// Four floats to levels as `nearest_int` rounds them, whatever they are, bounded to −4 … 3.
#[inline(always)]
fn nearest_level(x: v128) -> v128 {
    let bits = v128_and(f32x4_add(x, f32x4_splat(12_582_912.0)), u32x4_splat(0x7f_ffff));
    let bounded = i32x4_min(i32x4_max(bits, i32x4_splat(0x40_0000 - 4)), i32x4_splat(0x40_0000 + 3));
    // The integer as a float again: its bits are the low ones of 1.5 · 2^23 + it.
    f32x4_sub(v128_or(bounded, u32x4_splat(0x4b00_0000)), f32x4_splat(12_582_912.0))
}
