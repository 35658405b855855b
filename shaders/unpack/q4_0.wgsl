// Q4_0: eight consecutive weights to a word (repacked at upload), 8 above their value, an f16 scale for 32.
fn unpack(row: u32, chunk: u32) -> Eight {
    let word = vec4<u32>(quants[row * params.chunks + chunk]);
    let d = scale(row, chunk >> 2u);
    let low = vec4<f32>((word >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u));
    let high = vec4<f32>((word >> vec4<u32>(16u, 20u, 24u, 28u)) & vec4<u32>(15u));
    return Eight(d * (low - 8.0), d * (high - 8.0));
}
