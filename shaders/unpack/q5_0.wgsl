// Q5_0: five words for 32 weights. Words 0–3: the low four bits; 4: the fifth ones.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 2u;
    let base = (row * (params.chunks >> 2u) + block) * 5u;
    let levels = join(four_bits(base, chunk & 3u), one_bit(base + 4u, chunk & 3u), 4u);
    return above(levels, 16.0, scale(row, block));
}
