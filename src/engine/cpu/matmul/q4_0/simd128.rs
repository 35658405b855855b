//! Eight rows of Q4_0, a block of 32 columns at a time.
//!
//! ```text
//! byte 0            16                                   80
//!      ┌────────────┬────────────────────────────────────┬────────────────────┐
//!      │ 8 scales   │ rows 0 … 3: 4 vectors              │ rows 4 … 7         │   144 bytes: as many as in the file
//!      │ f16 LE     │                                    │                    │
//!      └────────────┴────────────────────────────────────┴────────────────────┘
//!
//! Vector v, u16 lane 2·row + s:
//!      bits 0 … 3        4 … 7            8 … 11           12 … 15
//!      pair 4v, column s pair 4v + 1      pair 4v + 2      pair 4v + 3
//! ```
//!
//! A mask leaves level · 16^k, which is multiplied as it is: no shift. The sums of each k are exact, so they are shifted
//! once at the end. Levels are 0 … 15 and mean −8 … 7, which the sum of the activations sets right.

use crate::engine::cpu::matmul::BLOCK;
use crate::engine::cpu::matmul::simd128::*;
use core::arch::wasm32::*;

pub struct Weights;

/// Bytes of the scales.
const SCALES: usize = 2 * TILE;
/// Bytes of four rows' levels.
const HALF: usize = 4 * BLOCK / 2;

impl Tile for Weights {
    const COLS: usize = BLOCK;
    const FILE_BYTES: usize = 2 + BLOCK / 2;
    const BYTES: usize = SCALES + 2 * HALF;

    fn put(unit: &mut [u8], lane: usize, block: &[u8]) {
        let (scale, levels) = block.split_at(2);
        unit[2 * lane..][..2].copy_from_slice(scale);
        let rows = &mut unit[SCALES + lane / 4 * HALF..][..HALF];
        for column in 0..BLOCK {
            let byte = levels[column % 16];
            let level = if column < 16 { byte & 15 } else { byte >> 4 };
            let (pair, s) = (column / 2, column % 2);
            let byte = &mut rows[pair / 4 * 16 + (lane % 4 * 2 + s) * 2 + pair % 4 / 2];
            *byte = if pair % 2 == 0 { *byte & 0xf0 | level } else { *byte & 0x0f | level << 4 };
        }
    }

    #[inline(always)]
    fn dot(unit: &[u8], x: Columns, sums: [v128; 2]) -> [v128; 2] {
        assert!(unit.len() == Self::BYTES && x.levels.len() == Self::COLS);
        let mut by_one = [i32x4_splat(-8 * x.sums[0]); 2];
        let (mut by_16, mut by_256) = ([i32x4_splat(0); 2], [i32x4_splat(0); 2]);
        for v in 0..4 {
            // SAFETY: x is one block, says the assertion, and 4 · 3 + 3 is its last pair.
            let x = unsafe { [x.pair(0, 4 * v), x.pair(0, 4 * v + 1), x.pair(0, 4 * v + 2), x.pair(0, 4 * v + 3)] };
            for half in 0..2 {
                // SAFETY: the levels are two halves of HALF bytes behind SCALES, four vectors each.
                let packed = unsafe { load(unit, SCALES + half * HALF + 16 * v) };
                let add = |sum: &mut v128, weights, x| *sum = i32x4_add(*sum, i32x4_dot_i16x8(weights, x));
                add(&mut by_one[half], v128_and(packed, u16x8_splat(0x000f)), x[0]);
                add(&mut by_16[half], v128_and(packed, u16x8_splat(0x00f0)), x[1]);
                add(&mut by_256[half], v128_and(packed, u16x8_splat(0x0f00)), x[2]);
                add(&mut by_one[half], u16x8_shr(packed, 12), x[3]);
            }
        }
        // SAFETY: the scales are the unit's first 16 bytes.
        let scales = unsafe { [load_f16(unit, 0), load_f16(unit, 8)] };
        [0, 1].map(|half| {
            let product = i32x4_add(by_one[half], i32x4_shr(by_16[half], 4));
            let product = i32x4_add(product, i32x4_shr(by_256[half], 8));
            accumulate(sums[half], product, scales[half], x.scales[0])
        })
    }

    fn unpack(unit: &[u8], blocks: &mut [Unpacked]) {
        let [block] = blocks else { unreachable!("a unit is a block") };
        assert_eq!(unit.len(), Self::BYTES);
        store_scales(unit, &mut block.scales);
        for half in 0..2 {
            for v in 0..4 {
                // SAFETY: as in `dot`.
                let packed = unsafe { load(unit, SCALES + half * HALF + 16 * v) };
                let levels = [
                    v128_and(packed, u16x8_splat(15)),
                    v128_and(u16x8_shr(packed, 4), u16x8_splat(15)),
                    v128_and(u16x8_shr(packed, 8), u16x8_splat(15)),
                    u16x8_shr(packed, 12),
                ];
                for (k, levels) in levels.into_iter().enumerate() {
                    let at = (4 * v + k) * 2 * TILE + 8 * half;
                    store_levels(&mut block.levels, at, i16x8_sub(levels, i16x8_splat(8)));
                }
            }
        }
    }
}
