//! Weights from integers alone: the same bits here, in wasm, and in tools/ggml_fixtures.py (its `generate` is the twin).

use phiquant::num::bf16_to_f32;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Every distribution, by name.
pub const KINDS: &[&str] = &[
    "gaussian",
    "heavy",
    "bf16",
    "constant",
    "signs",
    "zero",
    "signed_zero",
    "denormal",
    "outlier",
    "ties",
    "large",
    "small",
    "tiny",
    "blocks",
    "wild",
    "edges",
    "demo",
];

/// The demo checkpoint: bf16 weights after a header.
static DEMO: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/www/models/demo/model.safetensors"));

/// The finalizer of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of (seed, stream, index).
pub fn hash(seed: u64, stream: u64, index: u64) -> u64 {
    let key = mix(seed.wrapping_add(GOLDEN.wrapping_mul(stream + 1)));
    mix(key.wrapping_add(GOLDEN.wrapping_mul(index + 1)))
}

/// About normal, in ±3145725: the sum of six 20-bit fields less their mean.
fn bell(seed: u64, index: u64) -> f32 {
    let mut total = -3 * 0xf_ffff;
    for stream in 0..2 {
        let h = hash(seed, stream, index);
        total += [0, 20, 40].iter().map(|shift| (h >> shift & 0xf_ffff) as i32).sum::<i32>();
    }
    total as f32
}

/// 2 to that power, a normal number.
fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

fn weight(kind: &str, seed: u64, i: u64) -> f32 {
    let h = |index| hash(seed, 2, index);
    match kind {
        "gaussian" => bell(seed, i) * power(-25),
        "heavy" => bell(seed, i) * power(-27 + (h(i) & 0xfff | 0x1000).trailing_zeros() as i32),
        "bf16" => f32::from_bits((bell(seed, i) * power(-25)).to_bits() & 0xffff_0000),
        "constant" => bell(seed, i / 32) * power(-25),
        "signs" => f32::from_bits((bell(seed, i / 32) * power(-25)).to_bits() ^ (h(i) << 31) as u32),
        "zero" => 0.0,
        "signed_zero" => f32::from_bits(((h(i) & 1) as u32) << 31),
        "denormal" => f32::from_bits(h(i) as u32 & 0x807f_ffff),
        "outlier" => bell(seed, i) * power(if h(i).is_multiple_of(256) { -16 } else { -25 }),
        "ties" => {
            let extreme: i32 = [127, -8, -32][i as usize / 256 % 3];
            let quarter = (h(i) % (8 * extreme.unsigned_abs() as u64 + 1)) as i32 - 4 * extreme.abs();
            if i.is_multiple_of(16) { extreme as f32 } else { quarter as f32 * 0.25 }
        }
        "large" => bell(seed, i) * power(-6),
        "small" => bell(seed, i) * power(-39),
        "tiny" => bell(seed, i) * power(-120),
        "blocks" => bell(seed, i) * power(-25 - (h(i / 16) % 45) as i32),
        "wild" => f32::from_bits(h(i) as u32 & 0x807f_ffff | ((hash(seed, 3, i) % 142) as u32) << 23),
        "edges" => {
            let top = (hash(seed, 3, i / 32) % 110) as i32 - 100;
            let first = f32::from_bits(power(top).to_bits() - (h(i) % 48) as u32);
            if i.is_multiple_of(32) { first } else { bell(seed, i) * power(top - 23) }
        }
        "demo" => {
            let header = 8 + u64::from_le_bytes(DEMO[..8].try_into().unwrap()) as usize;
            let weights = DEMO[header..].as_chunks().0;
            bf16_to_f32(u16::from_le_bytes(weights[((seed * 4099 + i) % weights.len() as u64) as usize]))
        }
        other => panic!("no distribution {other}"),
    }
}

pub fn generate(kind: &str, seed: u64, weights: usize) -> Vec<f32> {
    (0..weights as u64).map(|i| weight(kind, seed, i)).collect()
}

/// Columns of the cases with importance.
pub const COLS: usize = 1024;

/// What a column counts for: heavy-tailed, a few zeros, one block of nothing but zeros.
pub fn importance(seed: u64) -> Vec<f32> {
    let column = |i| {
        let h = hash(seed, 4, i);
        if h.is_multiple_of(64) || i / 256 == 2 {
            return 0.0;
        }
        ((h >> 32) % 4096 + 1) as f32 * power((hash(seed, 2, i) & 0xfff | 0x1000).trailing_zeros() as i32 - 10)
    };
    (0..COLS as u64).map(column).collect()
}
