// Q4_1: eight levels to a word, a scale and a minimum for 32.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = 2u * (chunk >> 2u);
    return affine(four_bits(row * params.chunks, chunk), scale(row, block), scale(row, block + 1u));
}
