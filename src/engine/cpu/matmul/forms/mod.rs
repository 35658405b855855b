//! How the levels of eight rows lie in memory, 32 columns at a time.
//!
//! Columns go in *pairs* of neighbours, and four rows make a vector: u16 lane `2·row + s` belongs to column `2·pair + s`.
//! Rows 0 … 3 come first (a *half* of the tile), then rows 4 … 7.
//!
//! ```text
//! Two    32 bytes a half: vectors v = 0, 1; bits 2k, 2k + 1 of a lane: pair 8v + k
//! Four   64 bytes a half: vectors v = 0 … 3; bits 4k … 4k + 3: pair 4v + k
//! Coded  as Four; each level stands for a value of a table
//! Five   as Four, then the fifth bits: one vector a half, see [`fifth`]
//! Eight  [pair][row][2] bytes, signed
//! ```
//!
//! Levels of Two, Four and Five are unsigned: what [`zero`] says is to be subtracted from each, which the sum of the
//! activations does in one go. Three bits are kept as four, six as eight: half a bit or so more to read, but far less to do.

pub mod simd128;

use super::BLOCK;
use super::simd128::{LEVELS, TILE};
use crate::engine::levels::{Spec, Values};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Two,
    Four,
    Coded,
    Five,
    Eight,
}

/// The form of a type.
pub const fn form(spec: &Spec) -> Form {
    match (spec.bits, spec.values) {
        (2, _) => Form::Two,
        (_, Values::Table(_)) => Form::Coded,
        (3 | 4, _) => Form::Four,
        (5, _) => Form::Five,
        _ => Form::Eight,
    }
}

/// Bytes of 32 columns of a tile.
pub const fn bytes(spec: &Spec) -> usize {
    match form(spec) {
        Form::Two => LEVELS / 4,
        Form::Four | Form::Coded => LEVELS / 2,
        Form::Five => LEVELS / 2 + LEVELS / 8,
        Form::Eight => LEVELS,
    }
}

/// What a type's levels are above their value once a form has read them.
pub const fn zero(spec: &Spec) -> i16 {
    match (form(spec), spec.values) {
        (Form::Eight, _) | (_, Values::Signed) => 0,
        (_, Values::Above(zero)) => zero,
        (_, Values::Table(table)) => {
            let (mut least, mut i) = (table[0], 1);
            while i < table.len() {
                least = if table[i] < least { table[i] } else { least };
                i += 1;
            }
            -(least as i16)
        }
    }
}

/// A table's values above the least of them.
pub const fn codes(spec: &Spec) -> [u8; 16] {
    let (mut codes, mut i) = ([0; 16], 0);
    if let Values::Table(table) = spec.values {
        while i < codes.len() {
            codes[i] = (table[i] as i16 + zero(spec)) as u8;
            i += 1;
        }
    }
    codes
}

/// Where the fifth bits of vector `v` stand in their lane: `(bit, left)`. Shifted by `left` (right where it is negative),
/// bits 4 and 12 are those of pairs 4v + `odd` and 4v + 2 + `odd`, which is where their other bits leave room.
pub const fn fifth(v: usize, odd: usize) -> (usize, i32) {
    let bit = 2 * v + odd;
    (bit, 4 - bit as i32)
}

/// Writes row `lane`'s 32 levels.
#[inline(always)]
pub fn put(spec: &Spec, unit: &mut [u8], lane: usize, levels: &[u8; BLOCK]) {
    let (half, row) = (lane / 4, lane % 4);
    // A pair's columns are neighbouring lanes: one word of a row.
    let pair = |pair: usize| u32::from(levels[2 * pair]) | u32::from(levels[2 * pair + 1]) << 16;
    let mut write = |vector: usize, word: u32| unit[vector + 4 * row..][..4].copy_from_slice(&word.to_le_bytes());
    match form(spec) {
        Form::Two => {
            for v in 0..2 {
                let word = (0..8).fold(0, |word, k| word | pair(8 * v + k) << (2 * k));
                write(half * LEVELS / 8 + 16 * v, word);
            }
        }
        Form::Four | Form::Coded | Form::Five => {
            let mut fifths = 0;
            for v in 0..4 {
                let word = (0..4).fold(0, |word, k| word | (pair(4 * v + k) & 0x000f_000f) << (4 * k));
                write(half * LEVELS / 4 + 16 * v, word);
                for k in 0..4 {
                    let (bit, _) = fifth(v, k % 2);
                    fifths |= (pair(4 * v + k) >> 4 & 0x0001_0001) << (bit + k / 2 * 8);
                }
            }
            if form(spec) == Form::Five {
                write(LEVELS / 2 + 16 * half, fifths);
            }
        }
        Form::Eight => {
            for (pair, levels) in levels.as_chunks::<2>().0.iter().enumerate() {
                unit[pair * 2 * TILE + 2 * lane..][..2].copy_from_slice(&levels.map(|level| spec.value(level) as u8));
            }
        }
    }
}
