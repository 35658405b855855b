// Levels of five bits: the highest bits as one word, the others as in blocks of four bits.

var<private> fifth: u32;
var<private> nibbles: array<u32, 8>;

// Levels 2i, 2i + 1, 2i + 16 and 2i + 17.
fn keep(i: u32, levels: vec4<u32>) {
    let low = levels & vec4<u32>(15u);
    let high = levels >> vec4<u32>(4u);
    nibbles[i] = low.x | (low.z << 4u) | (low.y << 8u) | (low.w << 12u);
    fifth |= (high.x | (high.y << 1u) | (high.z << 16u) | (high.w << 17u)) << (2u * i);
}

fn put_levels() {
    put(fifth & 0xffffu);
    put(fifth >> 16u);
    for (var i = 0u; i < 8u; i++) {
        put(nibbles[i]);
    }
    fifth = 0u;
}
