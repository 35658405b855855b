// Q2_K: 24 words for 256 weights. Words 0–15: levels; 16–19 and 20–23: for every 16 a factor of the scale, and of the minimum.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 5u;
    let c = chunk & 31u;
    let base = (row * (params.chunks >> 5u) + block) * 24u;
    let d = scale(row, 2u * block) * factor(base + 16u, c >> 1u);
    let minimum = scale(row, 2u * block + 1u) * factor(base + 20u, c >> 1u);
    return affine(two_bits(base, c), d, minimum);
}
