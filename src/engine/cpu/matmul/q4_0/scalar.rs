//! Unpacking, by the definition.

use crate::engine::cpu::matmul::{BLOCK, scalar::Levels};
use crate::num::f16_to_f32;
use crate::quant::q4_0::{Block, GROUP};

pub struct Weights;

impl Levels for Weights {
    const GROUP: (usize, usize) = (GROUP, size_of::<Block>());

    fn unpack(row: &[u8], levels: &mut [i16], scales: &mut [f32]) {
        let blocks: &[Block] = bytemuck::cast_slice(row);
        for ((block, levels), scale) in blocks.iter().zip(levels.chunks_exact_mut(BLOCK)).zip(scales) {
            *scale = f16_to_f32(u16::from_le_bytes(block.scale));
            let (low, high) = levels.split_at_mut(BLOCK / 2);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(block.levels) {
                *low = i16::from(byte & 15) - 8;
                *high = i16::from(byte >> 4) - 8;
            }
        }
    }
}
