//! A tile, unpacked for a batch: every token of a prefill meets it.

pub mod simd128;

use super::simd128::{LEVELS, TILE};

/// A tile's block, ready to be multiplied.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Unpacked {
    /// `[pair][row][2]`, sub-blocks' factors included.
    pub levels: [i16; LEVELS],
    pub scales: [f32; TILE],
    /// Of each half of the block; unused where the type has none.
    pub mins: [[f32; TILE]; 2],
}

/// A tile, unpacked.
#[derive(Default)]
pub struct Panel(pub Vec<Unpacked>);

impl Unpacked {
    pub const ZERO: Self = Self { levels: [0; LEVELS], scales: [0.0; TILE], mins: [[0.0; TILE]; 2] };
}
