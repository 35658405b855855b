// MXFP4: eight levels to a word, for 32 the upper half of an f32 that is a power of two.
#import "shared/levels.wgsl"
#import "shared/table.wgsl"

// Twice the value of each E2M1 float.
const VALUES = array<f32, 16>(
    0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, -0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0,
);

fn unpack(row: u32, chunk: u32) -> Eight {
    let d = bitcast<f32>(scale_bits(row, chunk >> 2u) << 16u);
    return coded(four_bits(row * params.chunks, chunk), d);
}
