// BF16: the upper halves of f32, two to a word, the first one low.
fn two(word: u32) -> vec2<f32> {
    return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
}

fn unpack(row: u32, chunk: u32) -> Eight {
    let base = (row * params.chunks + chunk) * 4u;
    return Eight(
        vec4<f32>(two(quants[base]), two(quants[base + 1u])),
        vec4<f32>(two(quants[base + 2u]), two(quants[base + 3u])),
    );
}
