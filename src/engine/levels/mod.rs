//! Blocks of a file, taken apart: what both backends repack a type's weights from.
//!
//! Whatever its block looks like, a weight of every type here is
//! `scale · sub[s] · value(level) + min · sub_min[s]`, s being its sub-block. A type says once how its block becomes these
//! parts ([`Levels::split`]); how they lie in memory, and how they are multiplied, is the backends' affair.

mod blocks256;
mod blocks32;

pub use blocks32::{Iq4Nl, Mxfp4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub use blocks256::{Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K, Tq1_0, Tq2_0};

use crate::num::{bf16_to_f32, f16_to_f32};

/// Weights of the largest block.
pub const MOST: usize = 256;
/// Weights of the smallest sub-block.
pub const LEAST: usize = 16;

/// What levels stand for.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// Level minus this.
    Above(i16),
    /// The level's eight bits are a signed number.
    Signed,
    /// One of these.
    Table(&'static [i8; 16]),
}

/// How 16 bits make a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    F16,
    /// The upper half of an f32: powers of two that f16 has not.
    Bf16,
}

impl Half {
    pub fn value(self, bits: u16) -> f32 {
        match self {
            Half::F16 => f16_to_f32(bits),
            Half::Bf16 => bf16_to_f32(bits),
        }
    }
}

/// A type as data.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Weights of a block, and its bytes in a file.
    pub cols: usize,
    pub bytes: usize,
    /// Bits of a level.
    pub bits: u32,
    pub values: Values,
    /// Weights of a sub-block, 16 or 32; 0 where the block has no scales but its own.
    pub sub: usize,
    /// Whether something is added to scale times value.
    pub mins: bool,
    pub half: Half,
}

impl Spec {
    /// Sub-blocks that have factors.
    pub const fn factors(&self) -> usize {
        match self.cols.checked_div(self.sub) {
            Some(factors) => factors,
            None => 0,
        }
    }

    /// What a level stands for.
    #[inline(always)]
    pub const fn value(&self, level: u8) -> i16 {
        match self.values {
            Values::Above(zero) => level as i16 - zero,
            Values::Signed => level as i8 as i16,
            Values::Table(table) => table[level as usize] as i16,
        }
    }
}

/// A block, taken apart.
#[derive(Debug, Clone)]
pub struct Parts {
    /// One for each weight, in order.
    pub levels: [u8; MOST],
    /// The block's scale and minimum, 16 bits as [`Spec::half`] says; 0 where there is no minimum.
    pub scale: u16,
    pub min: u16,
    /// Factors of both for each sub-block; `mins` within 0 … 127.
    pub subs: [i8; MOST / LEAST],
    pub mins: [u8; MOST / LEAST],
}

impl Parts {
    /// Sub-blocks that change nothing.
    pub const NEW: Parts =
        Parts { levels: [0; MOST], scale: 0, min: 0, subs: [1; MOST / LEAST], mins: [1; MOST / LEAST] };
}

/// A type whose weights are levels with scales.
pub trait Levels: 'static {
    const SPEC: Spec;

    /// Takes one block apart. `parts` comes from [`Parts::NEW`] or another block: what the type has not is left alone.
    fn split(block: &[u8], parts: &mut Parts);
}

/// The bits of an f16 in a block.
fn half(bytes: [u8; 2]) -> u16 {
    u16::from_le_bytes(bytes)
}

/// The same f16 with the other sign: for minimums that are subtracted.
fn negated(bytes: [u8; 2]) -> u16 {
    half(bytes) ^ 0x8000
}

/// Levels of four bits: i in the low half of byte i, i + n in the high half, n being the number of bytes.
fn nibbles(bytes: &[u8], levels: &mut [u8]) {
    let (low, high) = levels.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}
