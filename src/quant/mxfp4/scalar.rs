//! The definition of MXFP4's bytes.

use super::{Block, GROUP, VALUES};
use crate::quant::fault::{Fault, magnitude};
use crate::quant::nibbles;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        *block = quantize_block(weights).map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

pub(super) fn quantize_block(weights: &[f32; GROUP]) -> Result<Block, Fault> {
    let exponent = exponent(magnitude(weights)?);
    let scale = scale(exponent);
    Ok(Block { exponent, levels: nibbles::pack(&weights.map(|w| nearest(w, scale))) })
}

/// e of a block whose largest magnitude is `magnitude`.
pub(super) fn exponent(magnitude: f32) -> u8 {
    if magnitude == 0.0 { 0 } else { (floor_log2(magnitude) + 125) as u8 }
}

/// ⌊log2 x⌋, log2 being rounded to f32: a few numbers just below a power of two belong to it. x is positive and finite.
fn floor_log2(x: f32) -> i32 {
    // x = 2^next · (1 − gap · 2^-24), denormals included.
    let (exponent, fraction) = ((x.to_bits() >> 23) as i32, x.to_bits() & 0x7f_ffff);
    let (next, gap) = match exponent {
        0 => (fraction.ilog2() as i32 - 148, (1 << 24) - (fraction << (23 - fraction.ilog2()))),
        _ => (exponent - 126, (1 << 23) - fraction),
    };
    // log2 x = next − gap · 2^-24 / ln 2, and it rounds to `next` if that is less than half a step: 2^-24 of the power of
    // two at or below |log2 x|. So ⌊ln 2 · that power⌋ gaps vanish (the next term of the series is far too small to matter).
    let power = match next {
        2.. => 1 << (next - 1).ilog2(),
        0 | 1 => 0,
        _ => 1 << next.unsigned_abs().ilog2(),
    };
    if gap <= (power * 45_426) >> 16 { next } else { next - 1 }
}

/// 2^(e − 128).
pub(super) fn scale(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 0x20_0000 << exponent } else { u32::from(exponent - 1) << 23 })
}

fn nearest(w: f32, scale: f32) -> u8 {
    let distance = |value: i8| (f32::from(value) * scale - w).abs();
    let (mut best, mut least) = (0, distance(VALUES[0]));
    for (level, &value) in VALUES.iter().enumerate().skip(1) {
        let distance = distance(value);
        if distance < least {
            (best, least) = (level as u8, distance);
        }
    }
    best
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = scale(block.exponent);
        *weights = nibbles::unpack(&block.levels).map(|level| f32::from(VALUES[usize::from(level)]) * scale);
    }
}
