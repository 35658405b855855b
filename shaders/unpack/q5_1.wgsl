// Q5_1: as Q5_0, with a minimum.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 2u;
    let base = (row * (params.chunks >> 2u) + block) * 5u;
    let levels = join(four_bits(base, chunk & 3u), one_bit(base + 4u, chunk & 3u), 4u);
    return affine(levels, scale(row, 2u * block), scale(row, 2u * block + 1u));
}
