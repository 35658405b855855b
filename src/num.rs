//! Numbers: f16 and bf16 conversions, rounding rules, alignment. Only here.

/// The next multiple of `align` at or after `n`.
pub const fn align_up(n: u64, align: u64) -> u64 {
    n.div_ceil(align) * align
}

/// `n` rounded to the nearest integer, ties away from zero: C's `roundf`, ggml's rule.
pub fn round_half_away(x: f32) -> f32 {
    x.round()
}

/// `x` rounded to the nearest integer, ties to even, for |x| ≤ 2^22: ggml's `nearest_int`. Never −0.
pub fn round_half_even(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23: in this binade the last bit weighs 1
    (x + MAGIC) - MAGIC
}

/// `x` rounded to the nearest integer, ties to even, for |x| ≤ 2^22. Beyond, and for NaN, it is what the same bits of
/// x + 1.5 · 2^23 happen to say: ggml's `nearest_int`, whose levels depend on it where a scale is nearly zero.
pub fn nearest_int(x: f32) -> i32 {
    ((x + 12_582_912.0).to_bits() & 0x7f_ffff) as i32 - 0x40_0000
}

/// bf16 to f32: exact, the upper half of the bits.
pub const fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// f32 to bf16, ties to even; a NaN stays a (quiet) NaN. Equals ggml's and PyTorch's conversion.
pub const fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return ((bits >> 16) | 0x40) as u16;
    }
    ((bits + (0x7fff + ((bits >> 16) & 1))) >> 16) as u16
}

/// f16 to f32: exact.
pub fn f16_to_f32(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32_const()
}

/// f32 to f16, ties to even, overflow to infinity: IEEE 754.
pub fn f32_to_f16(x: f32) -> u16 {
    half::f16::from_f32_const(x).to_bits()
}

/// A well-mixed number for each counter: SplitMix64's next output (Steele, Lea, Flood 2014). Of consecutive counters it
/// makes a random generator whose n-th number can be asked for alone.
pub const fn mix(counter: u64) -> u64 {
    let z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
