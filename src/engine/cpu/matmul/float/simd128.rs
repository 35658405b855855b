//! Rows of 16-bit floats times f32, widened on the way.

use crate::engine::cpu::matmul::simd128::widen_f16;
use crate::engine::cpu::ops::scalar::LANES;
use crate::engine::cpu::ops::simd128::dot_by;
use core::arch::wasm32::*;

/// Four of 16 halves, sign-extended to 32 bits.
#[inline(always)]
fn load(halves: &[[u8; 2]; LANES], vector: usize) -> v128 {
    let halves = &halves[4 * vector..][..4];
    // SAFETY: eight readable bytes; the load needs no alignment.
    unsafe { i32x4_load_extend_i16x4(halves.as_ptr().cast()) }
}

/// All of the row must be finite.
pub fn dot_f16(row: &[u8], x: &[f32]) -> f32 {
    dot_by(row.as_chunks().0, x, |halves, vector| widen_f16(load(halves, vector)))
}

pub fn dot_bf16(row: &[u8], x: &[f32]) -> f32 {
    dot_by(row.as_chunks().0, x, |halves, vector| i32x4_shl(load(halves, vector), 16))
}
