// F16: two to a word, the first one low.
fn two(word: u32) -> vec2<f32> {
    return vec2<f32>(half_value(word & 0xffffu), half_value(word >> 16u));
}

fn unpack(row: u32, chunk: u32) -> Eight {
    let base = (row * params.chunks + chunk) * 4u;
    return Eight(
        vec4<f32>(two(quants[base]), two(quants[base + 1u])),
        vec4<f32>(two(quants[base + 2u]), two(quants[base + 3u])),
    );
}
