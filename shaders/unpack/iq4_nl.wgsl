// IQ4_NL: eight levels to a word, a scale for 32.
#import "shared/levels.wgsl"
#import "shared/iq4.wgsl"
#import "shared/table.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    return coded(four_bits(row * params.chunks, chunk), scale(row, chunk >> 2u));
}
