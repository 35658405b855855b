// Levels of a few bits, packed in order into words, the first one lowest (src/engine/gpu/weights.rs does it), and what
// becomes of them. A *plane* holds the same bits of all of a block's levels, or the factors of its sub-blocks, a byte each.

struct Levels {
    low: vec4<u32>,
    high: vec4<u32>,
}

// Eight fields of a word, or of its lower part.
fn fields(word: u32, bits: u32) -> Levels {
    let shift = vec4<u32>(0u, 1u, 2u, 3u) * bits;
    let mask = vec4<u32>((1u << bits) - 1u);
    return Levels((vec4<u32>(word) >> shift) & mask, (vec4<u32>(word >> (4u * bits)) >> shift) & mask);
}

// Eight levels: chunk `c` of the plane that begins at word `at`.
fn one_bit(at: u32, c: u32) -> Levels {
    return fields(quants[at + (c >> 2u)] >> (8u * (c & 3u)), 1u);
}

fn two_bits(at: u32, c: u32) -> Levels {
    return fields(quants[at + (c >> 1u)] >> (16u * (c & 1u)), 2u);
}

fn four_bits(at: u32, c: u32) -> Levels {
    return fields(quants[at + c], 4u);
}

// Levels of two planes; `bits`: those of the lower one.
fn join(lower: Levels, upper: Levels, bits: u32) -> Levels {
    let shift = vec4<u32>(bits);
    return Levels(lower.low | (upper.low << shift), lower.high | (upper.high << shift));
}

// The factor of a sub-block; `at`: the first word of the plane.
fn factor(at: u32, sub: u32) -> f32 {
    return f32(unpack4xI8(quants[at + (sub >> 2u)])[sub & 3u]);
}

fn above(levels: Levels, zero: f32, d: f32) -> Eight {
    return Eight(d * (vec4<f32>(levels.low) - zero), d * (vec4<f32>(levels.high) - zero));
}

// The product has few enough bits to be exact, so it is all the same whether a device fuses it into the sum.
fn affine(levels: Levels, d: f32, minimum: f32) -> Eight {
    return Eight(d * vec4<f32>(levels.low) + minimum, d * vec4<f32>(levels.high) + minimum);
}
