// Q5_K: 44 words for 256 weights. Words 0–31: the low four bits; 32–39: the fifth ones; 40–41 and 42–43: for every 32 a
// factor of the scale, and of the minimum.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 5u;
    let c = chunk & 31u;
    let base = (row * (params.chunks >> 5u) + block) * 44u;
    let levels = join(four_bits(base, c), one_bit(base + 32u, c), 4u);
    let d = scale(row, 2u * block) * factor(base + 40u, c >> 2u);
    let minimum = scale(row, 2u * block + 1u) * factor(base + 42u, c >> 2u);
    return affine(levels, d, minimum);
}
