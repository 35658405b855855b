//! Levels of four bits, two a byte: how ggml's blocks of 32 keep them.

/// Weights whose levels are packed together.
const GROUP: usize = 32;
const HALF: usize = GROUP / 2;

/// The low four bits of level i in the low, of level i + 16 in the high half of byte i.
pub(super) fn pack(levels: &[u8; GROUP]) -> [u8; HALF] {
    std::array::from_fn(|i| levels[i] & 15 | levels[i + HALF] << 4)
}

/// The levels, 0 … 15.
pub(super) fn unpack(bytes: &[u8; HALF]) -> [u8; GROUP] {
    std::array::from_fn(|i| bytes[i % HALF] >> (i / HALF * 4) & 15)
}

/// The fifth bit of level i as bit i, little-endian.
pub(super) fn fifth_bits(levels: &[u8; GROUP]) -> [u8; 4] {
    std::array::from_fn(|byte| (0..8).fold(0, |bits, i| bits | (levels[8 * byte + i] >> 4 & 1) << i))
}

/// Levels 0 … 31 of what [`pack`] and [`fifth_bits`] made.
pub(super) fn unpack_with_fifth(bytes: &[u8; HALF], fifth: [u8; 4]) -> [u8; GROUP] {
    let low = unpack(bytes);
    std::array::from_fn(|i| low[i] | (fifth[i / 8] >> (i % 8) & 1) << 4)
}
