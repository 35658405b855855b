//! The definition, written so that the compiler vectorizes it.

/// Partial sums of a reduction.
pub const LANES: usize = 16;

pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, tails) = (a.chunks_exact(LANES).zip(b.chunks_exact(LANES)), a.len() / LANES * LANES);
    for (a, b) in chunks {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a[tails..].iter().zip(&b[tails..])) {
        *sum += a * b;
    }
    reduce(sums)
}

pub fn sum(x: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for x in x.chunks(LANES) {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += x;
        }
    }
    reduce(sums)
}

/// The sum of the partial sums, in halves.
pub fn reduce(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Coefficients of exp on ±ln(2)/2, the highest power first: Moshier's Cephes library, `expf`.
pub const EXP: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
/// 1.5·2^23: adding it rounds to an integer, which then stands in the lowest bits.
pub const EXP_MAGIC: f32 = 12_582_912.0;
/// ln(2) in two parts; the first one's product with any exponent is exact.
pub const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Beyond these the result is the smallest or largest that a normal f32 holds.
pub const EXP_RANGE: [f32; 2] = [-87.0, 88.0];

/// e^x within 2 units in the last place, the same on every machine and without a branch: only products and sums.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(EXP_RANGE[0], EXP_RANGE[1]);
    let shifted = x * std::f32::consts::LOG2_E + EXP_MAGIC;
    let n = shifted - EXP_MAGIC;
    let r = x - n * LN2[0] - n * LN2[1];
    let mut p = EXP[0];
    for c in &EXP[1..] {
        p = p * r + c;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    (p * (r * r) + r + 1.0) * power
}
