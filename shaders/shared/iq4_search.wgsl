// The search for the scale of 32 elements on the curved scale of IQ4_NL and IQ4_XS, as src/quant/iq4_nl/scalar.rs defines it.
//
// It runs in f32, in the reference's order of operations: sums and products are rounded correctly everywhere, quotients are
// made of integers, and no product can be fused into a sum (`apart`). What remains of a device's freedom is a flush of
// denormals, so magnitudes beyond its reach only are taken, and the rest is left to the CPU.

var<private> MIDDLES: array<f32, 15> = array<f32, 15>(
    -115.5, -93.5, -74.0, -57.0, -42.0, -28.5, -16.0, -4.5, 7.0, 19.0, 31.5, 45.5, 61.0, 79.0, 101.0
);
var<private> VALUES: array<f32, 16> = array<f32, 16>(
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0
);

// The elements.
var<private> x: array<f32, 32>;

fn inverse_of(scale: f32) -> f32 {
    if scale == 0.0 {
        return 0.0;
    }
    return quotient(1.0, scale);
}

// The level whose value is nearest.
fn nearest(value: f32) -> u32 {
    var level = select(0u, 8u, value >= MIDDLES[7]);
    level += select(0u, 4u, value >= MIDDLES[level + 3u]);
    level += select(0u, 2u, value >= MIDDLES[level + 1u]);
    return level + select(0u, 1u, value >= MIDDLES[level]);
}

// Σ x²·v·x and Σ x²·v² for the levels' values v that an inverse scale gives.
fn fit(inverse: f32) -> vec2<f32> {
    var sums = vec2<f32>(0.0);
    for (var i = 0u; i < 32u; i++) {
        let value = VALUES[nearest(inverse * x[i])];
        let weighted = x[i] * x[i] * value;
        sums += vec2<f32>(apart(weighted * x[i]), apart(weighted * value));
    }
    return sums;
}

// Loads 32 elements in pairs from `first` on.
fn load(first: u32) {
    for (var i = 0u; i < 16u; i++) {
        let pair = source_pair(first + i);
        x[2u * i] = bitcast<f32>(pair.x);
        x[2u * i + 1u] = bitcast<f32>(pair.y);
    }
}

// The best scale of the elements.
fn search() -> f32 {
    var extreme = 0u;
    var largest = 0u;
    for (var i = 0u; i < 32u; i++) {
        let bits = bitcast<u32>(x[i]);
        if (bits & 0x7fffffffu) > largest {
            extreme = bits;
            largest = bits & 0x7fffffffu;
        }
    }
    // 1e-15: such elements count as zeros.
    if largest < 0x26901d7du {
        return 0.0;
    }
    // Outside of 2^-36 … 2^24 a device's sums may end up among denormals or infinities.
    if largest < 0x2d800000u || largest >= 0x4b800000u {
        mine.faults |= ASK;
        return 0.0;
    }
    let edge = bitcast<f32>(extreme);
    var sums = fit(quotient(1.0, quotient(edge, 127.0)));
    var scale = quotient(sums.x, sums.y);
    var worth = scale * sums.x;
    for (var step = -7; step <= 7; step++) {
        sums = fit(quotient(f32(step) - 127.0, edge));
        if sums.y > 0.0 && sums.x * sums.x > worth * sums.y {
            scale = quotient(sums.x, sums.y);
            worth = scale * sums.x;
        }
    }
    return scale;
}

// Two bytes of levels of the elements 2i, 2i + 1 (low halves), 2i + 16 and 2i + 17 (high halves). `step`: the scale as it is
// read again.
fn levels(i: u32, inverse: f32, step: f32) -> u32 {
    var packed = 0u;
    for (var k = 0u; k < 4u; k++) {
        let value = x[2u * i + (k & 1u) + 8u * (k & 2u)];
        let level = nearest(inverse * value);
        packed |= level << (8u * (k & 1u) + 2u * (k & 2u));
        measure(bitcast<u32>(value), step * VALUES[level]);
    }
    return packed;
}
