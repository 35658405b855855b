// A part of a matrix (whole rows, one pair of buffers), and what the shaders that read it share.
//
// `unpack(row, chunk)` of shaders/unpack/ gives eight consecutive weights of a row; src/engine/gpu/weights.rs splits a
// file's blocks into the planes that it reads.

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

@group(0) @binding(1) var<storage, read> quants: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

// f16 to f32, exact: no builtin, whose denormals a device may flush.
fn half_value(half: u32) -> f32 {
    let magnitude = half & 0x7fffu;
    let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u);
    let denormal = f32(magnitude) * 0x1p-24;
    let value = select(normal, denormal, magnitude < 0x400u);
    return select(value, -value, (half & 0x8000u) != 0u);
}

// The 16 bits of a row's scale; rows begin at whole words.
fn scale_bits(row: u32, index: u32) -> u32 {
    let at = row * params.scale_stride + index;
    return (scales[at >> 1u] >> (16u * (at & 1u))) & 0xffffu;
}

// The same as an f16. One for each block; two, the second one its minimum, where a type has those.
fn scale(row: u32, index: u32) -> f32 {
    return half_value(scale_bits(row, index));
}
