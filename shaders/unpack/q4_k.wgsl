// Q4_K: 36 words for 256 weights. Words 0–31: levels; 32–33 and 34–35: for every 32 a factor of the scale, and of the minimum.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 5u;
    let c = chunk & 31u;
    let base = (row * (params.chunks >> 5u) + block) * 36u;
    let d = scale(row, 2u * block) * factor(base + 32u, c >> 2u);
    let minimum = scale(row, 2u * block + 1u) * factor(base + 34u, c >> 2u);
    return affine(four_bits(base, c), d, minimum);
}
