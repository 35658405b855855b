// Q6_K, repacked at upload: 52 words for 256 weights. Words 0–31: the low four bits, eight consecutive weights to a word;
// 32–47: the high two bits, sixteen weights to a word; 48–51: an i8 scale for every 16. An f16 scale for all.
fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 5u;
    let c = chunk & 31u;
    let base = (row * (params.chunks >> 5u) + block) * 52u;
    let low = vec4<u32>(quants[base + c]);
    let high = vec4<u32>(quants[base + 32u + (c >> 1u)] >> (16u * (c & 1u)));
    let factor = unpack4xI8(quants[base + 48u + (c >> 3u)])[(c >> 1u) & 3u];
    let d = scale(row, block) * f32(factor);
    let three = vec4<u32>(3u);
    let fifteen = vec4<u32>(15u);
    let first = ((low >> vec4<u32>(0u, 4u, 8u, 12u)) & fifteen)
        | (((high >> vec4<u32>(0u, 2u, 4u, 6u)) & three) << vec4<u32>(4u));
    let second = ((low >> vec4<u32>(16u, 20u, 24u, 28u)) & fifteen)
        | (((high >> vec4<u32>(8u, 10u, 12u, 14u)) & three) << vec4<u32>(4u));
    return Eight(d * (vec4<f32>(first) - 32.0), d * (vec4<f32>(second) - 32.0));
}
