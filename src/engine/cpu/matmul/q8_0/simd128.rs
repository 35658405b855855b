//! Eight rows of Q8_0, a block of 32 columns at a time.
//!
//! ```text
//! byte 0            16                     32
//!      ┌────────────┬──────────────────────┬─ ─ ─┬───────────────────────┐
//!      │ 8 scales   │ pair 0 of rows 0 … 7 │     │ pair 15 of rows 0 … 7 │   272 bytes: as many as in the file
//!      │ f16 LE     │ 2 × i8 each          │     │                       │
//!      └────────────┴──────────────────────┴─ ─ ─┴───────────────────────┘
//! ```

use crate::engine::cpu::matmul::BLOCK;
use crate::engine::cpu::matmul::simd128::*;
use core::arch::wasm32::*;

pub struct Weights;

/// Bytes of the scales.
const SCALES: usize = 2 * TILE;

impl Tile for Weights {
    const COLS: usize = BLOCK;
    const FILE_BYTES: usize = 2 + BLOCK;
    const BYTES: usize = SCALES + LEVELS;

    fn put(unit: &mut [u8], lane: usize, block: &[u8]) {
        let (scale, levels) = block.split_at(2);
        unit[2 * lane..][..2].copy_from_slice(scale);
        for (pair, levels) in levels.chunks_exact(2).enumerate() {
            unit[SCALES + pair * 2 * TILE + 2 * lane..][..2].copy_from_slice(levels);
        }
    }

    #[inline(always)]
    fn dot(unit: &[u8], x: Columns, sums: [v128; 2]) -> [v128; 2] {
        assert!(unit.len() == Self::BYTES && x.levels.len() == Self::COLS);
        let mut products = [i32x4_splat(0); 2];
        for pair in 0..PAIRS {
            // SAFETY: x is one block, says the assertion.
            let x = unsafe { x.pair(0, pair) };
            for (half, product) in products.iter_mut().enumerate() {
                // SAFETY: the levels are LEVELS bytes behind SCALES; the last load ends with them.
                let weights = unsafe { load_i8(unit, SCALES + pair * 2 * TILE + 8 * half) };
                *product = i32x4_add(*product, i32x4_dot_i16x8(weights, x));
            }
        }
        // SAFETY: the scales are the unit's first 16 bytes.
        let scales = unsafe { [load_f16(unit, 0), load_f16(unit, 8)] };
        [0, 1].map(|half| accumulate(sums[half], products[half], scales[half], x.scales[0]))
    }

    fn unpack(unit: &[u8], blocks: &mut [Unpacked]) {
        let [block] = blocks else { unreachable!("a unit is a block") };
        assert_eq!(unit.len(), Self::BYTES);
        store_scales(unit, &mut block.scales);
        for at in (0..LEVELS).step_by(8) {
            // SAFETY: the levels are LEVELS bytes behind SCALES, and 8 divides LEVELS.
            let levels = unsafe { load_i8(unit, SCALES + at) };
            store_levels(&mut block.levels, at, levels);
        }
    }
}
