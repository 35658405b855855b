// Q3_K: 28 words for 256 weights. Words 0–15: the low two bits; 16–23: the third; 24–27: a factor for every 16.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 5u;
    let c = chunk & 31u;
    let base = (row * (params.chunks >> 5u) + block) * 28u;
    let levels = join(two_bits(base, c), one_bit(base + 16u, c), 2u);
    return above(levels, 4.0, scale(row, block) * factor(base + 24u, c >> 1u));
}
