// F32: the words themselves.
fn unpack(row: u32, chunk: u32) -> Eight {
    let base = (row * params.chunks + chunk) * 8u;
    return Eight(
        bitcast<vec4<f32>>(vec4<u32>(quants[base], quants[base + 1u], quants[base + 2u], quants[base + 3u])),
        bitcast<vec4<f32>>(vec4<u32>(quants[base + 4u], quants[base + 5u], quants[base + 6u], quants[base + 7u])),
    );
}
