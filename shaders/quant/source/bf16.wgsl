// Elements 2i and 2i + 1 as f32 bits, from bf16.
fn source_pair(index: u32) -> vec2<u32> {
    let word = source[index];
    return vec2<u32>(word << 16u, word & 0xffff0000u);
}
