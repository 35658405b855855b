//! Products of a panel with tokens.

use super::Unpacked;
use crate::engine::cpu::matmul::BLOCK;
use crate::engine::cpu::matmul::activations::Activations;
use crate::engine::cpu::matmul::simd128::{LEVELS, PAIRS, TILE, accumulate, floats, x_sum};
use core::arch::wasm32::*;

/// Tokens that meet a panel together: two vectors of sums each, and the machine has sixteen.
const GROUP: usize = 4;

/// A panel times every token. `MINS`: minimums that a row has in a block; `first`, `count`: the panel's rows among `rows`.
pub fn meet<const MINS: usize>(
    panel: &[Unpacked],
    x: &Activations,
    rows: usize,
    first: usize,
    count: usize,
    out: &mut [f32],
) {
    let mut take = |t: usize, sums: &[[f32; TILE]]| {
        for (t, sums) in (t..).zip(sums) {
            out[t * rows + first..][..count].copy_from_slice(&sums[..count]);
        }
    };
    let tokens = x.scales.len() / panel.len();
    let together = tokens / GROUP * GROUP;
    for t in (0..together).step_by(GROUP) {
        take(t, &multiply::<GROUP, MINS>(panel, x, t));
    }
    for t in together..tokens {
        take(t, &multiply::<1, MINS>(panel, x, t));
    }
}

/// A panel times `T` tokens, the first being `t`.
fn multiply<const T: usize, const MINS: usize>(panel: &[Unpacked], x: &Activations, t: usize) -> [[f32; TILE]; T] {
    let mut sums = [[f32x4_splat(0.0); 2]; T];
    for (n, block) in panel.iter().enumerate() {
        let levels: [&[i16; BLOCK]; T] = core::array::from_fn(|i| {
            let at = ((t + i) * panel.len() + n) * BLOCK;
            x.levels[at..at + BLOCK].try_into().expect("a block")
        });
        let mut products = [[i32x4_splat(0); 2]; T];
        for pair in 0..PAIRS {
            let weights = [load_levels(&block.levels, pair * 16), load_levels(&block.levels, pair * 16 + 8)];
            for (levels, products) in levels.iter().zip(&mut products) {
                let x = splat_pair(levels, pair);
                for (weights, product) in weights.iter().zip(products) {
                    *product = i32x4_add(*product, i32x4_dot_i16x8(*weights, x));
                }
            }
        }
        for (i, (sums, products)) in sums.iter_mut().zip(products).enumerate() {
            let x_scale = x.scales[(t + i) * panel.len() + n];
            for (half, (sum, product)) in sums.iter_mut().zip(products).enumerate() {
                *sum = accumulate(*sum, product, load_floats(&block.scales, half), f32x4_splat(x_scale));
            }
            if MINS > 0 {
                let [a, b] = x.sums[(t + i) * panel.len() + n];
                let x_sums = if MINS == 1 { [a + b, 0] } else { [a, b] };
                for (mins, x_sums) in block.mins.iter().zip(x_sums).take(MINS) {
                    let x_sum = x_sum(x_scale, x_sums);
                    for (half, sum) in sums.iter_mut().enumerate() {
                        *sum = f32x4_add(*sum, f32x4_mul(load_floats(mins, half), x_sum));
                    }
                }
            }
        }
    }
    sums.map(floats)
}

/// Stores eight levels.
#[inline(always)]
pub fn store_levels(levels: &mut [i16; LEVELS], at: usize, v: v128) {
    let levels = &mut levels[at..at + 8];
    // SAFETY: eight writable i16; v128_store needs no alignment.
    unsafe { v128_store(levels.as_mut_ptr().cast(), v) }
}

#[inline(always)]
fn load_levels(levels: &[i16; LEVELS], at: usize) -> v128 {
    let levels = &levels[at..at + 8];
    // SAFETY: eight readable i16; v128_load needs no alignment.
    unsafe { v128_load(levels.as_ptr().cast()) }
}

#[inline(always)]
fn load_floats(rows: &[f32; TILE], half: usize) -> v128 {
    let rows = &rows[4 * half..][..4];
    // SAFETY: four readable f32; v128_load needs no alignment.
    unsafe { v128_load(rows.as_ptr().cast()) }
}

#[inline(always)]
fn splat_pair(levels: &[i16; BLOCK], pair: usize) -> v128 {
    let pair = &levels[2 * pair..][..2];
    // SAFETY: two readable i16; the load needs no alignment.
    unsafe { v128_load32_splat(pair.as_ptr().cast()) }
}
