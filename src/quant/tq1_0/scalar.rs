//! The definition of TQ1_0's bytes.

use super::{Block, GROUP, STRIPS};
use crate::num::f16_to_f32;
use crate::quant::fault::{Fault, magnitude, scale_to_f16};
use crate::quant::tq2_0::scalar::trits;

pub(in crate::quant) fn quantize(rows: &[f32], blocks: &mut [Block]) -> Result<(), Fault> {
    for (index, (weights, block)) in rows.as_chunks().0.iter().zip(blocks).enumerate() {
        *block = quantize_block(weights).map_err(|fault| fault.after(index * GROUP))?;
    }
    Ok(())
}

fn quantize_block(weights: &[f32; GROUP]) -> Result<Block, Fault> {
    let scale = magnitude(weights)?;
    let stored = scale_to_f16(scale)?;
    Ok(Block { trits: pack(&trits(weights, scale)), scale: stored.to_le_bytes() })
}

pub(super) fn pack(trits: &[u8; GROUP]) -> [u8; 52] {
    let mut bytes = [0; 52];
    for strip in STRIPS {
        for l in 0..strip.width {
            let digit = |n: usize| if n < strip.digits { trits[strip.weight + n * strip.width + l] } else { 0 };
            let number = (0..5).fold(0, |number, n| 3 * number + u16::from(digit(n)));
            bytes[strip.byte + l] = (number * 256).div_ceil(243) as u8;
        }
    }
    bytes
}

pub(in crate::quant) fn dequantize(blocks: &[Block], rows: &mut [f32]) {
    for (block, weights) in blocks.iter().zip(rows.as_chunks_mut::<GROUP>().0) {
        let scale = f16_to_f32(u16::from_le_bytes(block.scale));
        for strip in STRIPS {
            for (n, power) in [1u8, 3, 9, 27, 81].into_iter().enumerate().take(strip.digits) {
                for l in 0..strip.width {
                    let fraction = block.trits[strip.byte + l].wrapping_mul(power);
                    let trit = (u16::from(fraction) * 3) >> 8;
                    weights[strip.weight + n * strip.width + l] = (f32::from(trit) - 1.0) * scale;
                }
            }
        }
    }
}
