//! Integer matrix products on vectors: eight rows are kept together, so that a vector's lanes are rows and no sum runs
//! across lanes.
//!
//! `i32x4_dot_i16x8` multiplies eight levels and adds them in pairs. A *pair* is two neighbouring columns; a vector of
//! weights holds one pair of four rows, and is multiplied by that pair of activations, repeated four times:
//!
//! ```text
//! weights      r0 c0 │ r0 c1 │ r1 c0 │ r1 c1 │ r2 c0 │ r2 c1 │ r3 c0 │ r3 c1
//! activations     x0 │    x1 │    x0 │    x1 │    x0 │    x1 │    x0 │    x1
//! sum          r0·x          │ r1·x          │ r2·x          │ r3·x
//! ```
//!
//! A single token (decode) is multiplied from the packed form in one go. For several (prefill) a tile is unpacked once, and
//! every token meets it ([`Panel`]). The sums of a block are exact, and blocks are added in order, so all ways give the
//! scalar definition's bits.
//!
//! A tile goes in units, which are the columns of a type's block in a file:
//!
//! ```text
//! unit    8 scales (16 bits each) │ 8 minimums, if any │ 32 columns │ 32 columns │ …
//! columns 8 factors of each sub-block's scale, if any │ 8 of its minimum, if any │ levels (`super::forms`)
//! ```

use super::activations::{Activations, INFINITY, MAGIC, scale};
use super::panel::simd128::{meet, store_levels};
use super::panel::{Panel, Unpacked};
use super::{BLOCK, Kernel, Scratch, forms};
use crate::engine::levels::{Half, LEAST, Levels, Parts};
use crate::quant::Kernels;
use core::arch::wasm32::*;
use core::marker::PhantomData;

/// Rows that are kept together: two vectors of sums.
pub const TILE: usize = 8;
/// Pairs in a block.
pub const PAIRS: usize = BLOCK / 2;
/// Levels of a tile's block.
pub const LEVELS: usize = TILE * BLOCK;

/// One token's activations in the columns of a unit.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    levels: &'a [i16],
    scales: &'a [f32],
    sums: &'a [[i32; 2]],
}

impl Columns<'_> {
    /// Block `n`'s pair `pair` in all four places.
    ///
    /// # Safety
    /// There is such a block, and `pair < PAIRS`.
    #[inline(always)]
    pub unsafe fn pair(&self, n: usize, pair: usize) -> v128 {
        let at = n * BLOCK + 2 * pair;
        debug_assert!(at + 2 <= self.levels.len());
        // SAFETY: two levels stand there, says the caller; no alignment is needed.
        unsafe { v128_load32_splat(self.levels.as_ptr().add(at).cast()) }
    }
}

// Checks in each load stay in the code wherever a loop is not unrolled; an arrangement of Q6_K with them ran at a third of
// the speed. So the loads are unsafe, and a kernel checks the unit's length once.

/// Sixteen bytes of a unit from `at` on.
///
/// # Safety
/// They stand within the unit.
#[inline(always)]
pub unsafe fn load(unit: &[u8], at: usize) -> v128 {
    debug_assert!(at + 16 <= unit.len());
    // SAFETY: the caller's promise; no alignment is needed.
    unsafe { v128_load(unit.as_ptr().add(at).cast()) }
}

/// Eight signed bytes of a unit from `at` on, widened.
///
/// # Safety
/// They stand within the unit.
#[inline(always)]
pub unsafe fn load_i8(unit: &[u8], at: usize) -> v128 {
    debug_assert!(at + 8 <= unit.len());
    // SAFETY: as in `load`.
    unsafe { i16x8_load_extend_i8x8(unit.as_ptr().add(at).cast()) }
}

/// Four finite scales of a unit from `at` on, as f32: exact.
///
/// # Safety
/// They stand within the unit.
#[inline(always)]
unsafe fn load_halves(half: Half, unit: &[u8], at: usize) -> v128 {
    debug_assert!(at + 8 <= unit.len());
    // SAFETY: as in `load`.
    let bits = unsafe { i32x4_load_extend_i16x4(unit.as_ptr().add(at).cast()) };
    match half {
        Half::F16 => widen_f16(bits),
        Half::Bf16 => i32x4_shl(bits, 16),
    }
}

/// Four finite f16, sign-extended to 32 bits, as f32.
#[inline(always)]
pub fn widen_f16(bits: v128) -> v128 {
    // Sign, exponent and fraction at an f32's places; the exponent's bias then differs by 112.
    let fields = v128_and(i32x4_shl(bits, 13), u32x4_splat(0x8fff_e000));
    f32x4_mul(fields, f32x4_splat(f32::from_bits((127 + 112) << 23)))
}

/// `sums + (scales · x_scale) · block`: the definition's order of products.
#[inline(always)]
pub fn accumulate(sum: v128, block: v128, scales: v128, x_scale: v128) -> v128 {
    f32x4_add(sum, f32x4_mul(f32x4_mul(scales, x_scale), f32x4_convert_i32x4(block)))
}

/// What a minimum is multiplied by: a half's, or both halves' activations.
#[inline(always)]
pub fn x_sum(scale: f32, sum: i32) -> v128 {
    f32x4_splat(scale * sum as f32)
}

#[inline(always)]
pub fn floats(sums: [v128; 2]) -> [f32; TILE] {
    // SAFETY: two vectors are eight f32.
    unsafe { core::mem::transmute::<[v128; 2], [f32; TILE]>(sums) }
}

/// The kernel of a type whose rows are kept in tiles.
pub struct Tiles<T>(PhantomData<T>);

impl<T: Levels> Tiles<T> {
    const COLS: usize = T::SPEC.cols;
    const BLOCKS: usize = Self::COLS / BLOCK;
    /// Sub-blocks of a block of 32, and whether they have factors.
    const PARTS: usize = if T::SPEC.sub == LEAST { 2 } else { 1 };
    const FACTORS: bool = T::SPEC.sub != 0;
    /// Bytes before the columns of a unit, before the minimums' factors and the levels of 32 columns, and of the whole.
    const HEAD: usize = if T::SPEC.mins { 4 * TILE } else { 2 * TILE };
    const MINS: usize = if Self::FACTORS { Self::PARTS * TILE } else { 0 };
    const FIRST: usize = if T::SPEC.mins { 2 * Self::MINS } else { Self::MINS };
    const STEP: usize = Self::FIRST + forms::bytes(&T::SPEC);
    const BYTES: usize = Self::HEAD + Self::BLOCKS * Self::STEP;

    pub fn kernel() -> Box<dyn Kernel> {
        Box::new(Self(PhantomData))
    }

    /// Bytes of a tile.
    fn tile_bytes(cols: usize) -> usize {
        cols / Self::COLS * Self::BYTES
    }

    /// Writes row `lane` of a unit.
    fn put_unit(unit: &mut [u8], lane: usize, parts: &Parts) {
        unit[2 * lane..][..2].copy_from_slice(&parts.scale.to_le_bytes());
        if T::SPEC.mins {
            unit[2 * (TILE + lane)..][..2].copy_from_slice(&parts.min.to_le_bytes());
        }
        let columns = unit[Self::HEAD..].chunks_exact_mut(Self::STEP).zip(parts.levels.as_chunks().0);
        for (n, (columns, levels)) in columns.enumerate() {
            if Self::FACTORS {
                for part in 0..Self::PARTS {
                    let sub = n * Self::PARTS + part;
                    columns[part * TILE + lane] = parts.subs[sub] as u8;
                    if T::SPEC.mins {
                        columns[Self::MINS + part * TILE + lane] = parts.mins[sub];
                    }
                }
            }
            forms::put(const { &T::SPEC }, &mut columns[Self::FIRST..], lane, levels);
        }
    }

    /// Four rows' scales, or minimums.
    ///
    /// # Safety
    /// `unit` has its length.
    #[inline(always)]
    unsafe fn head(unit: &[u8], mins: bool, half: usize) -> v128 {
        // SAFETY: the head has them.
        unsafe { load_halves(T::SPEC.half, unit, if mins { 2 * TILE } else { 0 } + 8 * half) }
    }

    /// Both halves' factors that begin at `at`, in 32 bits.
    ///
    /// # Safety
    /// Eight bytes stand there.
    #[inline(always)]
    unsafe fn factors(unit: &[u8], at: usize) -> [v128; 2] {
        // SAFETY: the caller's promise.
        let factors = unsafe { load_i8(unit, at) };
        [i32x4_extend_low_i16x8(factors), i32x4_extend_high_i16x8(factors)]
    }

    /// Minimums of sub-block `part` of the columns at `at`.
    ///
    /// # Safety
    /// `unit` has its length, and `at` is where 32 columns begin.
    #[inline(always)]
    unsafe fn mins(unit: &[u8], at: usize, part: usize, mins: [v128; 2]) -> [v128; 2] {
        if !Self::FACTORS {
            return mins;
        }
        // SAFETY: the columns begin with PARTS · TILE factors of scales, and as many of minimums.
        let factors = unsafe { Self::factors(unit, at + Self::MINS + part * TILE) };
        [0, 1].map(|half| f32x4_mul(mins[half], f32x4_convert_i32x4(factors[half])))
    }

    /// `sums` plus a unit times its activations, block after block.
    #[inline(always)]
    fn dot(unit: &[u8], x: Columns, mut sums: [v128; 2]) -> [v128; 2] {
        assert!(unit.len() == Self::BYTES && x.levels.len() == Self::COLS);
        assert!(x.scales.len() == Self::BLOCKS && x.sums.len() == Self::BLOCKS);
        // SAFETY, for all that is unsafe below: the assertions check all lengths.
        let scales = unsafe { [Self::head(unit, false, 0), Self::head(unit, false, 1)] };
        let mins =
            if T::SPEC.mins { unsafe { [Self::head(unit, true, 0), Self::head(unit, true, 1)] } } else { scales };
        for n in 0..Self::BLOCKS {
            let at = Self::HEAD + n * Self::STEP;
            let (x_scale, x_sums) = (x.scales[n], x.sums[n]);
            let part_sum = |part: usize| if Self::PARTS == 1 { x_sums[0] + x_sums[1] } else { x_sums[part] };
            let mut block = [i32x4_splat(0); 2];
            for part in 0..Self::PARTS {
                // SAFETY: see above.
                let mut products = unsafe { forms::simd128::dot::<T>(unit, at + Self::FIRST, x, n, part, Self::PARTS) };
                let zero = const { forms::zero(&T::SPEC) } as i32;
                if zero != 0 {
                    let above = i32x4_splat(zero * part_sum(part));
                    products = products.map(|products| i32x4_sub(products, above));
                }
                if Self::FACTORS {
                    // SAFETY: see above.
                    let factors = unsafe { Self::factors(unit, at + part * TILE) };
                    products = [0, 1].map(|half| i32x4_mul(products[half], factors[half]));
                }
                block = [0, 1].map(|half| i32x4_add(block[half], products[half]));
            }
            sums = [0, 1].map(|half| accumulate(sums[half], block[half], scales[half], f32x4_splat(x_scale)));
            if T::SPEC.mins {
                for part in 0..Self::PARTS {
                    // SAFETY: see above.
                    let mins = unsafe { Self::mins(unit, at, part, mins) };
                    let x_sum = x_sum(x_scale, part_sum(part));
                    sums = [0, 1].map(|half| f32x4_add(sums[half], f32x4_mul(mins[half], x_sum)));
                }
            }
        }
        sums
    }

    /// One token: weights stream by once.
    fn decode(tile: &[u8], cols: usize, x: &Activations, t: usize) -> [f32; TILE] {
        let blocks = cols / BLOCK;
        let levels = x.levels[t * cols..][..cols].chunks_exact(Self::COLS);
        let scales = x.scales[t * blocks..][..blocks].chunks_exact(Self::BLOCKS);
        let x_sums = x.sums[t * blocks..][..blocks].chunks_exact(Self::BLOCKS);
        let mut sums = [f32x4_splat(0.0); 2];
        for (unit, ((levels, scales), x_sums)) in tile.chunks_exact(Self::BYTES).zip(levels.zip(scales).zip(x_sums)) {
            sums = Self::dot(unit, Columns { levels, scales, sums: x_sums }, sums);
        }
        floats(sums)
    }

    fn unpack_unit(unit: &[u8], blocks: &mut [Unpacked]) {
        assert!(unit.len() == Self::BYTES && blocks.len() == Self::BLOCKS);
        // SAFETY, for all that is unsafe below: the assertion checks the unit's length.
        let scales = unsafe { [Self::head(unit, false, 0), Self::head(unit, false, 1)] };
        let mins =
            if T::SPEC.mins { unsafe { [Self::head(unit, true, 0), Self::head(unit, true, 1)] } } else { scales };
        for (n, block) in blocks.iter_mut().enumerate() {
            let at = Self::HEAD + n * Self::STEP;
            block.scales = floats(scales);
            if T::SPEC.mins {
                // SAFETY: see above.
                block.mins = [0, Self::PARTS - 1].map(|part| floats(unsafe { Self::mins(unit, at, part, mins) }));
            }
            // The factors of each half of the columns, each of them twice: a pair's columns are neighbours.
            let factors = [0, Self::PARTS - 1].map(|part| match Self::FACTORS {
                // SAFETY: see above.
                true => unsafe { load_i8(unit, at + part * TILE) },
                false => i16x8_splat(1),
            });
            let factors = factors.map(|f| {
                [i16x8_shuffle::<0, 0, 1, 1, 2, 2, 3, 3>(f, f), i16x8_shuffle::<4, 4, 5, 5, 6, 6, 7, 7>(f, f)]
            });
            let zero = i16x8_splat(const { forms::zero(&T::SPEC) });
            let take = |pair: usize, half: usize, levels: v128| {
                let mut levels = i16x8_sub(levels, zero);
                if Self::FACTORS {
                    levels = i16x8_mul(levels, factors[pair * 2 / PAIRS][half]);
                }
                store_levels(&mut block.levels, pair * 2 * TILE + 8 * half, levels);
            };
            // SAFETY: see above.
            unsafe { forms::simd128::unpack::<T>(unit, at + Self::FIRST, take) };
        }
    }

    fn unpack<'a>(panel: &'a mut Panel, tile: &[u8], cols: usize) -> &'a [Unpacked] {
        panel.0.resize(cols / BLOCK, Unpacked::ZERO);
        for (unit, blocks) in tile.chunks_exact(Self::BYTES).zip(panel.0.chunks_exact_mut(Self::BLOCKS)) {
            Self::unpack_unit(unit, blocks);
        }
        &panel.0
    }
}

impl<T: Levels> Kernel for Tiles<T> {
    fn tile(&self) -> usize {
        TILE
    }

    fn row_bytes(&self, cols: usize) -> usize {
        Self::tile_bytes(cols) / TILE
    }

    fn put(&self, store: &mut [u8], cols: usize, row: usize, bytes: &[u8]) {
        let tile = &mut store[row / TILE * Self::tile_bytes(cols)..][..Self::tile_bytes(cols)];
        let mut parts = Parts::NEW;
        for (unit, block) in tile.chunks_exact_mut(Self::BYTES).zip(bytes.chunks_exact(T::SPEC.bytes)) {
            T::split(block, &mut parts);
            Self::put_unit(unit, row % TILE, &parts);
        }
    }

    fn row(&self, store: &[u8], cols: usize, row: usize, out: &mut [f32], scratch: &mut Scratch) {
        let tile = &store[row / TILE * Self::tile_bytes(cols)..][..Self::tile_bytes(cols)];
        let panel = Self::unpack(&mut scratch.panel, tile, cols);
        let lane = row % TILE;
        for (block, out) in panel.iter().zip(out.chunks_exact_mut(BLOCK)) {
            for (c, out) in out.iter_mut().enumerate() {
                let level = block.levels[c / 2 * 2 * TILE + lane * 2 + c % 2];
                let min = if T::SPEC.mins { block.mins[c / LEAST][lane] } else { 0.0 };
                *out = block.scales[lane] * f32::from(level) + min;
            }
        }
    }

    fn matmul(&self, store: &[u8], cols: usize, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let tokens = x.len() / cols;
        let rows = out.len() / tokens;
        scratch.x.round(Kernels::Simd128, x);
        for (tile, first) in store.chunks_exact(Self::tile_bytes(cols)).zip((0..rows).step_by(TILE)) {
            let count = TILE.min(rows - first);
            if tokens < FEW {
                for t in 0..tokens {
                    let sums = Self::decode(tile, cols, &scratch.x, t);
                    out[t * rows + first..][..count].copy_from_slice(&sums[..count]);
                }
                continue;
            }
            let panel = Self::unpack(&mut scratch.panel, tile, cols);
            let meet = match (T::SPEC.mins, Self::PARTS) {
                (false, _) => meet::<0>,
                (true, 1) => meet::<1>,
                (true, _) => meet::<2>,
            };
            meet(panel, &scratch.x, rows, first, count, out);
        }
    }
}

/// Below so many tokens unpacking does not pay.
const FEW: usize = 3;
/// Rounds a block of activations; its scale, and the sums of its halves' levels.
pub fn round(x: &[f32; BLOCK], levels: &mut [i16; BLOCK]) -> (f32, [i32; 2]) {
    // SAFETY: 32 f32 are eight vectors.
    let x: [v128; 8] = unsafe { core::mem::transmute(*x) };
    let max = x.iter().fold(u32x4_splat(0), |max, x| u32x4_max(max, f32x4_abs(*x)));
    let max = u32x4_max(max, i64x2_shuffle::<1, 1>(max, max));
    let max = u32x4_extract_lane::<0>(max).max(u32x4_extract_lane::<1>(max));
    let (scale, inverse) = scale(max);
    if max >= INFINITY {
        levels.fill(0);
        return (scale, [0; 2]);
    }
    let mut rounded = x.map(|x| {
        let shifted = f32x4_add(f32x4_mul(x, f32x4_splat(inverse)), f32x4_splat(MAGIC));
        i32x4_sub(shifted, u32x4_splat(MAGIC.to_bits()))
    });
    let sums = [0, 4].map(|i| {
        let sum = i32x4_add(i32x4_add(rounded[i], rounded[i + 1]), i32x4_add(rounded[i + 2], rounded[i + 3]));
        let sum = i32x4_add(sum, i64x2_shuffle::<1, 1>(sum, sum));
        i32x4_extract_lane::<0>(sum) + i32x4_extract_lane::<1>(sum)
    });
    for i in 0..4 {
        rounded[i] = i16x8_narrow_i32x4(rounded[2 * i], rounded[2 * i + 1]);
    }
    let [a, b, c, d, ..] = rounded;
    // SAFETY: four vectors are 32 i16.
    *levels = unsafe { core::mem::transmute::<[v128; 4], [i16; BLOCK]>([a, b, c, d]) };
    (scale, sums)
}
