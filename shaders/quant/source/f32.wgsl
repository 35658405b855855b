// Elements 2i and 2i + 1 as f32 bits, from f32.
fn source_pair(index: u32) -> vec2<u32> {
    return vec2<u32>(source[2u * index], source[2u * index + 1u]);
}
