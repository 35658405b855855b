// Elements 2i and 2i + 1 as f32 bits, from f16.
fn source_pair(index: u32) -> vec2<u32> {
    let word = source[index];
    return vec2<u32>(f16_to_f32(word & 0xffffu), f16_to_f32(word >> 16u));
}
