// Q6_K: 52 words for 256 weights. Words 0–31: the low four bits; 32–47: the high two; 48–51: a factor for every 16.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 5u;
    let c = chunk & 31u;
    let base = (row * (params.chunks >> 5u) + block) * 52u;
    let levels = join(four_bits(base, c), two_bits(base + 32u, c), 4u);
    return above(levels, 32.0, scale(row, block) * factor(base + 48u, c >> 1u));
}
