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
//! A single token (decode) is multiplied from the packed form in one go ([`Tile::dot`]). For several (prefill) a tile is
//! unpacked once, and every token meets it ([`Panel`]). The sums of a block are exact, and blocks are added in order, so all
//! ways give the scalar definition's bits.

use super::activations::{Activations, INFINITY, MAGIC, scale};
use super::{BLOCK, Kernel, Scratch};
use crate::quant::Kernels;
use core::arch::wasm32::*;
use core::marker::PhantomData;

/// Rows that are kept together: two vectors of sums.
pub const TILE: usize = 8;
/// Pairs in a block.
pub const PAIRS: usize = BLOCK / 2;
/// Levels of a tile's block.
pub const LEVELS: usize = TILE * BLOCK;

/// How eight rows of a scheme are kept together, in units of `COLS` columns.
pub trait Tile: 'static {
    /// Columns of a unit: those of the scheme's block in a file.
    const COLS: usize;
    /// Bytes of the scheme's block in a file.
    const FILE_BYTES: usize;
    /// Bytes of a unit, eight rows in all.
    const BYTES: usize;

    /// Writes row `lane` of a unit.
    fn put(unit: &mut [u8], lane: usize, block: &[u8]);

    /// `sums` plus a unit times its activations, block after block.
    fn dot(unit: &[u8], x: Columns, sums: [v128; 2]) -> [v128; 2];

    /// Unpacks a unit: per block the levels, `[pair][row][2]`, and the rows' scales.
    fn unpack(unit: &[u8], blocks: &mut [Unpacked]);
}

/// One token's activations in the columns of a unit.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    pub levels: &'a [i16],
    pub scales: &'a [f32],
    pub sums: &'a [i32],
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

/// A tile's block, ready to be multiplied.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Unpacked {
    pub levels: [i16; LEVELS],
    pub scales: [f32; TILE],
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

/// Four finite f16 of a unit from `at` on, widened to f32: exact.
///
/// # Safety
/// They stand within the unit.
#[inline(always)]
pub unsafe fn load_f16(unit: &[u8], at: usize) -> v128 {
    debug_assert!(at + 8 <= unit.len());
    // SAFETY: as in `load`.
    let bits = unsafe { i32x4_load_extend_i16x4(unit.as_ptr().add(at).cast()) };
    // Sign, exponent and fraction at an f32's places; the exponent's bias then differs by 112.
    let fields = v128_and(i32x4_shl(bits, 13), u32x4_splat(0x8fff_e000));
    f32x4_mul(fields, f32x4_splat(f32::from_bits((127 + 112) << 23)))
}

/// Eight scales, the first bytes of a unit, as f32.
#[inline(always)]
pub fn store_scales(unit: &[u8], scales: &mut [f32; TILE]) {
    assert!(unit.len() >= 2 * TILE);
    // SAFETY: checked above.
    let halves = unsafe { [load_f16(unit, 0), load_f16(unit, 8)] };
    // SAFETY: two vectors are eight f32.
    *scales = unsafe { core::mem::transmute::<[v128; 2], [f32; TILE]>(halves) };
}

/// Stores eight levels.
#[inline(always)]
pub fn store_levels(levels: &mut [i16; LEVELS], at: usize, v: v128) {
    let levels = &mut levels[at..at + 8];
    // SAFETY: eight writable i16; v128_store needs no alignment.
    unsafe { v128_store(levels.as_mut_ptr().cast(), v) }
}

/// `sums + (scales · x_scale) · block`: the definition's order of products.
#[inline(always)]
pub fn accumulate(sum: v128, block: v128, scales: v128, x_scale: f32) -> v128 {
    f32x4_add(sum, f32x4_mul(f32x4_mul(scales, f32x4_splat(x_scale)), f32x4_convert_i32x4(block)))
}

/// The kernel of a scheme whose rows are kept in tiles.
pub struct Tiles<T>(PhantomData<T>);

impl<T: Tile> Tiles<T> {
    pub fn kernel() -> Box<dyn Kernel> {
        Box::new(Self(PhantomData))
    }

    /// Bytes of a tile.
    fn tile_bytes(cols: usize) -> usize {
        cols / T::COLS * T::BYTES
    }

    /// One token: weights stream by once.
    fn decode(tile: &[u8], cols: usize, x: &Activations, t: usize) -> [f32; TILE] {
        let mut sums = [f32x4_splat(0.0); 2];
        let blocks = cols / BLOCK;
        let (levels, scales) = (&x.levels[t * cols..][..cols], &x.scales[t * blocks..][..blocks]);
        let x_sums = &x.sums[t * blocks..][..blocks];
        let per_unit = T::COLS / BLOCK;
        let scales = scales.chunks_exact(per_unit).zip(x_sums.chunks_exact(per_unit));
        for ((unit, levels), (scales, sums_x)) in
            tile.chunks_exact(T::BYTES).zip(levels.chunks_exact(T::COLS)).zip(scales)
        {
            sums = T::dot(unit, Columns { levels, scales, sums: sums_x }, sums);
        }
        // SAFETY: two vectors are eight f32.
        unsafe { core::mem::transmute::<[v128; 2], [f32; TILE]>(sums) }
    }
}

impl<T: Tile> Kernel for Tiles<T> {
    fn tile(&self) -> usize {
        TILE
    }

    fn row_bytes(&self, cols: usize) -> usize {
        Self::tile_bytes(cols) / TILE
    }

    fn put(&self, store: &mut [u8], cols: usize, row: usize, bytes: &[u8]) {
        let tile = &mut store[row / TILE * Self::tile_bytes(cols)..][..Self::tile_bytes(cols)];
        for (unit, block) in tile.chunks_exact_mut(T::BYTES).zip(bytes.chunks_exact(T::FILE_BYTES)) {
            T::put(unit, row % TILE, block);
        }
    }

    fn row(&self, store: &[u8], cols: usize, row: usize, out: &mut [f32], scratch: &mut Scratch) {
        let tile = &store[row / TILE * Self::tile_bytes(cols)..][..Self::tile_bytes(cols)];
        let panel = scratch.panel.unpack::<T>(tile, cols);
        let lane = row % TILE;
        for (block, out) in panel.iter().zip(out.chunks_exact_mut(BLOCK)) {
            for (c, out) in out.iter_mut().enumerate() {
                let level = block.levels[c / 2 * 2 * TILE + lane * 2 + c % 2];
                *out = block.scales[lane] * f32::from(level);
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
            let panel = scratch.panel.unpack::<T>(tile, cols);
            let mut t = 0;
            while t < tokens {
                let together = if t + GROUP <= tokens { GROUP } else { 1 };
                let sums = match together {
                    GROUP => multiply::<GROUP>(panel, &scratch.x, t, cols),
                    _ => {
                        let [sums] = multiply::<1>(panel, &scratch.x, t, cols);
                        [sums; GROUP]
                    }
                };
                for (t, sums) in (t..t + together).zip(&sums) {
                    out[t * rows + first..][..count].copy_from_slice(&sums[..count]);
                }
                t += together;
            }
        }
    }
}

/// Below so many tokens unpacking does not pay.
const FEW: usize = 3;
/// Tokens that meet a panel together: two vectors of sums each, and the machine has sixteen.
const GROUP: usize = 4;

/// A tile, unpacked.
#[derive(Default)]
pub struct Panel(Vec<Unpacked>);

impl Panel {
    fn unpack<T: Tile>(&mut self, tile: &[u8], cols: usize) -> &[Unpacked] {
        self.0.resize(cols / BLOCK, Unpacked { levels: [0; LEVELS], scales: [0.0; TILE] });
        for (unit, blocks) in tile.chunks_exact(T::BYTES).zip(self.0.chunks_exact_mut(T::COLS / BLOCK)) {
            T::unpack(unit, blocks);
        }
        &self.0
    }
}

/// A panel times `T` tokens, the first being `t`.
fn multiply<const T: usize>(panel: &[Unpacked], x: &Activations, t: usize, cols: usize) -> [[f32; TILE]; T] {
    let mut sums = [[f32x4_splat(0.0); 2]; T];
    for (n, block) in panel.iter().enumerate() {
        let levels: [&[i16; BLOCK]; T] = core::array::from_fn(|i| {
            let at = (t + i) * cols + n * BLOCK;
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
                *sum = accumulate(*sum, product, load_scales(&block.scales, half), x_scale);
            }
        }
    }
    // SAFETY: two vectors are eight f32.
    sums.map(|sums| unsafe { core::mem::transmute::<[v128; 2], [f32; TILE]>(sums) })
}

#[inline(always)]
fn load_levels(levels: &[i16; LEVELS], at: usize) -> v128 {
    let levels = &levels[at..at + 8];
    // SAFETY: eight readable i16; v128_load needs no alignment.
    unsafe { v128_load(levels.as_ptr().cast()) }
}

#[inline(always)]
fn load_scales(scales: &[f32; TILE], half: usize) -> v128 {
    let scales = &scales[4 * half..][..4];
    // SAFETY: four readable f32; v128_load needs no alignment.
    unsafe { v128_load(scales.as_ptr().cast()) }
}

#[inline(always)]
fn splat_pair(levels: &[i16; BLOCK], pair: usize) -> v128 {
    let pair = &levels[2 * pair..][..2];
    // SAFETY: two readable i16; the load needs no alignment.
    unsafe { v128_load32_splat(pair.as_ptr().cast()) }
}

/// Rounds a block of activations; its scale, and the sum of its levels.
pub fn round(x: &[f32; BLOCK], levels: &mut [i16; BLOCK]) -> (f32, i32) {
    // SAFETY: 32 f32 are eight vectors.
    let x: [v128; 8] = unsafe { core::mem::transmute(*x) };
    let max = x.iter().fold(u32x4_splat(0), |max, x| u32x4_max(max, f32x4_abs(*x)));
    let max = u32x4_max(max, i64x2_shuffle::<1, 1>(max, max));
    let max = u32x4_extract_lane::<0>(max).max(u32x4_extract_lane::<1>(max));
    let (scale, inverse) = scale(max);
    if max >= INFINITY {
        levels.fill(0);
        return (scale, 0);
    }
    let mut sum = i32x4_splat(0);
    let mut rounded = x.map(|x| {
        let shifted = f32x4_add(f32x4_mul(x, f32x4_splat(inverse)), f32x4_splat(MAGIC));
        let level = i32x4_sub(shifted, u32x4_splat(MAGIC.to_bits()));
        sum = i32x4_add(sum, level);
        level
    });
    for i in 0..4 {
        rounded[i] = i16x8_narrow_i32x4(rounded[2 * i], rounded[2 * i + 1]);
    }
    let [a, b, c, d, ..] = rounded;
    // SAFETY: four vectors are 32 i16.
    *levels = unsafe { core::mem::transmute::<[v128; 4], [i16; BLOCK]>([a, b, c, d]) };
    let sum = i32x4_add(sum, i64x2_shuffle::<1, 1>(sum, sum));
    (scale, i32x4_extract_lane::<0>(sum) + i32x4_extract_lane::<1>(sum))
}
