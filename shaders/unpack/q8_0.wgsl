// Q8_0: four i8 to a word, an f16 scale for 32.
fn unpack(row: u32, chunk: u32) -> Eight {
    let base = (row * params.chunks + chunk) * 2u;
    let d = scale(row, chunk >> 2u);
    return Eight(d * vec4<f32>(unpack4xI8(quants[base])), d * vec4<f32>(unpack4xI8(quants[base + 1u])));
}
