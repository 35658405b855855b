//! TQ2_0 in SIMD128, and the levels that it shares with TQ1_0.

use super::{Block, GROUP, scalar};
use crate::quant::fault::Fault;
use crate::quant::simd128::*;
use core::arch::wasm32::*;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks::<GROUP>().0.iter().zip(&mut *blocks).enumerate() {
        let Some((trits, scale)) = trits(weights) else {
            scalar::quantize(weights, std::slice::from_mut(block)).map_err(|fault| fault.after(index * GROUP))?;
            continue;
        };
        block.scale = scale;
        for (i, bytes) in block.levels.as_chunks_mut().0.iter_mut().enumerate() {
            // Shifts by 16-bit lanes: no bit crosses a byte.
            let q = |n: usize| trits[i / 2 * 8 + i % 2 + 2 * n];
            let (low, high) = (v128_or(q(0), u16x8_shl(q(1), 2)), v128_or(q(2), u16x8_shl(q(3), 2)));
            store_bytes(bytes, v128_or(low, u16x8_shl(high, 4)));
        }
    }
    Ok(())
}

/// The levels, sixteen weights after sixteen, and the scale as it is stored. `None` where the block needs the scalar code:
/// weights that are not finite, a scale that is too large for f16 or too small to have an inverse.
#[inline(always)]
pub(in crate::quant) fn trits(weights: &[f32; GROUP]) -> Option<([v128; GROUP / 16], [u8; 2])> {
    let vectors = weights.as_chunks::<4>().0.iter();
    let largest = vectors.fold(i32x4_splat(0), |largest, w| i32x4_max(largest, abs(load(w))));
    let scale = f32::from_bits(lanes(largest).into_iter().fold(0, u32::max));
    let inverse = if scale != 0.0 { 1.0 / scale } else { 0.0 };
    let stored = crate::num::f32_to_f16(scale);
    if stored >= 0x7c00 || !inverse.is_finite() {
        return None;
    }
    let inverse = f32x4_splat(inverse);
    let mut trits = [u8x16_splat(0); GROUP / 16];
    for (w, trits) in weights.as_chunks::<16>().0.iter().zip(&mut trits) {
        let w = w.as_chunks().0;
        // −1, 0 or 1 in each lane, since magnitudes reach 1 at most: comparisons give 0 or −1.
        let sign = |i: usize| {
            let x = f32x4_mul(load(&w[i]), inverse);
            i32x4_sub(f32x4_le(x, f32x4_splat(-0.5)), f32x4_ge(x, f32x4_splat(0.5)))
        };
        let (low, high) = (i16x8_narrow_i32x4(sign(0), sign(1)), i16x8_narrow_i32x4(sign(2), sign(3)));
        *trits = i8x16_add(i8x16_narrow_i16x8(low, high), i8x16_splat(1));
    }
    Some((trits, stored.to_le_bytes()))
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = splat_scale(block.scale);
        for (i, bytes) in block.levels.as_chunks().0.iter().enumerate() {
            let bytes = load_bytes(bytes);
            for (n, shifted) in
                [bytes, u16x8_shr(bytes, 2), u16x8_shr(bytes, 4), u16x8_shr(bytes, 6)].into_iter().enumerate()
            {
                let levels = i8x16_sub(v128_and(shifted, u8x16_splat(3)), u8x16_splat(1));
                scale_bytes(levels, scale, &mut weights.as_chunks_mut().0[i / 2 * 8 + i % 2 + 2 * n]);
            }
        }
    }
}
