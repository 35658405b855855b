// TQ1_0 and TQ2_0: levels 0, 1, 2 in two bits, a scale for 256.
#import "shared/levels.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    return above(two_bits(row * (params.chunks >> 1u), chunk), 1.0, scale(row, chunk >> 5u));
}
