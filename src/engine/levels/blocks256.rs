//! Types with blocks of 256 weights.

use super::{Half, Levels, Parts, Spec, Values, half, negated, nibbles};
use crate::quant::affine32::{self, Head};
use crate::quant::{iq4_nl, iq4_xs, q2_k, q3_k, q4_k, q5_k, q6_k, tq1_0, tq2_0};

const COLS: usize = 256;

const fn spec(bytes: usize, bits: u32, values: Values, sub: usize, mins: bool) -> Spec {
    Spec { cols: COLS, bytes, bits, values, sub, mins, half: Half::F16 }
}

/// Levels of two bits: each half of 128 weights has 32 bytes, byte l of them the levels l, l + 32, l + 64, l + 96.
fn pairs(bytes: &[u8], levels: &mut [u8; COLS]) {
    for (bytes, levels) in bytes.chunks_exact(32).zip(levels.chunks_exact_mut(128)) {
        for (n, levels) in levels.chunks_exact_mut(32).enumerate() {
            for (level, byte) in levels.iter_mut().zip(bytes) {
                *level = byte >> (2 * n) & 3;
            }
        }
    }
}

/// Levels of four bits, 64 weights to 32 bytes.
fn quads(bytes: &[u8], levels: &mut [u8; COLS]) {
    for (bytes, levels) in bytes.chunks_exact(32).zip(levels.chunks_exact_mut(64)) {
        nibbles(bytes, levels);
    }
}

/// Adds a bit: bit n of byte l is level 32·n + l's, and weighs `weight`.
fn high(bytes: &[u8; 32], weight: u8, levels: &mut [u8; COLS]) {
    for (n, levels) in levels.chunks_exact_mut(32).enumerate() {
        for (level, byte) in levels.iter_mut().zip(bytes) {
            *level += (byte >> n & 1) * weight;
        }
    }
}

/// The head of Q4_K and Q5_K: six bits of scale and minimum for each sub-block of 32.
fn head(head: &Head, parts: &mut Parts) {
    (parts.scale, parts.min) = (half(head.scale), negated(head.min));
    let (scales, mins) = affine32::unpack(&head.packed);
    parts.subs[..scales.len()].copy_from_slice(&scales.map(|scale| scale as i8));
    parts.mins[..mins.len()].copy_from_slice(&mins);
}

pub struct Q2K;

impl Levels for Q2K {
    const SPEC: Spec = spec(size_of::<q2_k::Block>(), 2, Values::Above(0), q2_k::SUB, true);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q2_k::Block = bytemuck::from_bytes(block);
        (parts.scale, parts.min) = (half(block.scale), negated(block.min));
        parts.subs = block.scales.map(|both| (both & 15) as i8);
        parts.mins = block.scales.map(|both| both >> 4);
        pairs(&block.levels, &mut parts.levels);
    }
}

pub struct Q3K;

impl Levels for Q3K {
    const SPEC: Spec = spec(size_of::<q3_k::Block>(), 3, Values::Above(4), q3_k::SUB, false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q3_k::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        parts.subs = q3_k::unpack_scales(&block.scales);
        pairs(&block.low, &mut parts.levels);
        high(&block.high, 4, &mut parts.levels);
    }
}

pub struct Q4K;

impl Levels for Q4K {
    const SPEC: Spec = spec(size_of::<q4_k::Block>(), 4, Values::Above(0), 32, true);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q4_k::Block = bytemuck::from_bytes(block);
        head(&block.head, parts);
        quads(&block.levels, &mut parts.levels);
    }
}

pub struct Q5K;

impl Levels for Q5K {
    const SPEC: Spec = spec(size_of::<q5_k::Block>(), 5, Values::Above(0), 32, true);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q5_k::Block = bytemuck::from_bytes(block);
        head(&block.head, parts);
        quads(&block.low, &mut parts.levels);
        high(&block.high, 16, &mut parts.levels);
    }
}

pub struct Q6K;

impl Levels for Q6K {
    const SPEC: Spec = spec(size_of::<q6_k::Block>(), 6, Values::Above(32), q6_k::SUB, false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &q6_k::Block = bytemuck::from_bytes(block);
        (parts.scale, parts.subs) = (half(block.scale), block.scales);
        for (half, levels) in parts.levels.chunks_exact_mut(COLS / 2).enumerate() {
            nibbles(&block.low[half * 64..][..64], levels);
            let high = &block.high[half * 32..][..32];
            for (n, levels) in levels.chunks_exact_mut(32).enumerate() {
                for (level, byte) in levels.iter_mut().zip(high) {
                    *level |= (byte >> (2 * n) & 3) << 4;
                }
            }
        }
    }
}

pub struct Iq4Xs;

impl Levels for Iq4Xs {
    const SPEC: Spec = spec(size_of::<iq4_xs::Block>(), 4, Values::Table(&iq4_nl::VALUES), iq4_xs::SUB, false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &iq4_xs::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        let high = u16::from_le_bytes(block.high);
        for (n, (levels, bytes)) in parts.levels.chunks_exact_mut(iq4_xs::SUB).zip(&block.levels).enumerate() {
            let low = block.low[n / 2] >> (4 * (n % 2)) & 15;
            let high = (high >> (2 * n) & 3) as u8;
            parts.subs[n] = (low | high << 4) as i8 - 32;
            nibbles(bytes, levels);
        }
    }
}

pub struct Tq1_0;

impl Levels for Tq1_0 {
    const SPEC: Spec = spec(size_of::<tq1_0::Block>(), 2, Values::Above(1), 0, false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &tq1_0::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        for strip in tq1_0::STRIPS {
            let levels = parts.levels[strip.weight..].chunks_exact_mut(strip.width).take(strip.digits);
            for (levels, power) in levels.zip([1u8, 3, 9, 27, 81]) {
                for (level, byte) in levels.iter_mut().zip(&block.trits[strip.byte..]) {
                    *level = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8;
                }
            }
        }
    }
}

pub struct Tq2_0;

impl Levels for Tq2_0 {
    const SPEC: Spec = spec(size_of::<tq2_0::Block>(), 2, Values::Above(1), 0, false);

    fn split(block: &[u8], parts: &mut Parts) {
        let block: &tq2_0::Block = bytemuck::from_bytes(block);
        parts.scale = half(block.scale);
        pairs(&block.levels, &mut parts.levels);
    }
}
