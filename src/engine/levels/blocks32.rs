//! Types with blocks of 32 weights.

use super::{Half, Levels, Parts, Spec, Values, half, nibbles};
use crate::quant::{iq4_nl, mxfp4, q4_0, q4_1, q5_0, q5_1, q8_0};

const COLS: usize = 32;

const fn spec(bytes: usize, bits: u32, values: Values, mins: bool) -> Spec {
    Spec { cols: COLS, bytes, bits, values, sub: 0, mins, half: Half::F16 }
}

/// Adds the fifth bits, bit i of `bits` (little-endian) to level i.
fn fifth(bits: [u8; 4], levels: &mut [u8]) {
    let bits = u32::from_le_bytes(bits);
    for (i, level) in levels.iter_mut().enumerate() {
        *level |= (bits >> i & 1) as u8 * 16;
    }
}

pub struct Q4_0;

impl Levels for Q4_0 {
    const SPEC: Spec = spec(size_of::<q4_0::Block>(), 4, Values::Above(8), false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q4_0::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        nibbles(&block.levels, &mut parts.levels[..COLS]);
    }
}

pub struct Q4_1;

impl Levels for Q4_1 {
    const SPEC: Spec = spec(size_of::<q4_1::Block>(), 4, Values::Above(0), true);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q4_1::Block = bytemuck::from_bytes(block);
        (parts.scale, parts.min) = (half(block.scale), half(block.offset));
        nibbles(&block.levels, &mut parts.levels[..COLS]);
    }
}

pub struct Q5_0;

impl Levels for Q5_0 {
    const SPEC: Spec = spec(size_of::<q5_0::Block>(), 5, Values::Above(16), false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q5_0::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        nibbles(&block.levels, &mut parts.levels[..COLS]);
        fifth(block.fifth, &mut parts.levels[..COLS]);
    }
}

pub struct Q5_1;

impl Levels for Q5_1 {
    const SPEC: Spec = spec(size_of::<q5_1::Block>(), 5, Values::Above(0), true);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q5_1::Block = bytemuck::from_bytes(block);
        (parts.scale, parts.min) = (half(block.scale), half(block.offset));
        nibbles(&block.levels, &mut parts.levels[..COLS]);
        fifth(block.fifth, &mut parts.levels[..COLS]);
    }
}

pub struct Q8_0;

impl Levels for Q8_0 {
    const SPEC: Spec = spec(size_of::<q8_0::Block>(), 8, Values::Signed, false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q8_0::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        parts.levels[..COLS].copy_from_slice(bytemuck::cast_slice(&block.levels));
    }
}

pub struct Iq4Nl;

impl Levels for Iq4Nl {
    const SPEC: Spec = spec(size_of::<iq4_nl::Block>(), 4, Values::Table(&iq4_nl::VALUES), false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &iq4_nl::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        nibbles(&block.levels, &mut parts.levels[..COLS]);
    }
}

pub struct Mxfp4;

impl Levels for Mxfp4 {
    const SPEC: Spec =
        Spec { half: Half::Bf16, ..spec(size_of::<mxfp4::Block>(), 4, Values::Table(&mxfp4::VALUES), false) };

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &mxfp4::Block = bytemuck::from_bytes(block);
        // 2^(e − 128), the two smallest being denormal.
        parts.scale = match block.exponent {
            e @ 0..2 => 0x20 << e,
            e => u16::from(e - 1) << 7,
        };
        nibbles(&block.levels, &mut parts.levels[..COLS]);
    }
}
