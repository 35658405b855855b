//! Unpacking, by the definition. A sub-block's scale is an integer, so it goes into the levels: ±32 · ±128 = ±4096.

use crate::engine::cpu::matmul::{BLOCK, scalar::Levels};
use crate::num::f16_to_f32;
use crate::quant::q6_k::{Block, GROUP, SUB};

pub struct Weights;

impl Levels for Weights {
    const GROUP: (usize, usize) = (GROUP, size_of::<Block>());

    fn unpack(row: &[u8], levels: &mut [i16], scales: &mut [f32]) {
        let blocks: &[Block] = bytemuck::cast_slice(row);
        let outs = levels.chunks_exact_mut(GROUP).zip(scales.chunks_exact_mut(GROUP / BLOCK));
        for (block, (levels, scales)) in blocks.iter().zip(outs) {
            scales.fill(f16_to_f32(u16::from_le_bytes(block.scale)));
            six_bits(block, levels);
            for (levels, scale) in levels.chunks_exact_mut(SUB).zip(block.scales) {
                for level in levels {
                    *level *= i16::from(scale);
                }
            }
        }
    }
}

/// The block's levels, −32 … 31.
pub fn six_bits(block: &Block, levels: &mut [i16]) {
    for (half, levels) in levels.chunks_exact_mut(GROUP / 2).enumerate() {
        let (low, high) = (&block.low[half * 64..][..64], &block.high[half * 32..][..32]);
        for l in 0..32 {
            for (quarter, low) in [low[l] & 15, low[l + 32] & 15, low[l] >> 4, low[l + 32] >> 4].into_iter().enumerate()
            {
                let high = high[l] >> (2 * quarter) & 3;
                levels[quarter * 32 + l] = i16::from(low | high << 4) - 32;
            }
        }
    }
}
