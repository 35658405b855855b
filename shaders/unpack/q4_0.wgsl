// Q4_0: eight levels to a word, a scale for 32.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    return above(four_bits(row * params.chunks, chunk), 8.0, scale(row, chunk >> 2u));
}
