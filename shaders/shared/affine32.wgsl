// What Q4_K and Q5_K share: src/quant/affine32.

#import "shared/affine.wgsl"

const SUB = 32u;
const SMALL = 1e-9;
const LARGE = 1e6;
const CODE_TOP = 63.0;

// √(mean x²) of the sub-block.
var<private> typical: f32;

fn prepare() {
    var squares = 0.0;
    for (var i = 0u; i < SUB; i++) {
        squares += apart(x[i] * x[i]);
    }
    let mean = bitcast<u32>(squares * 0.03125);
    typical = 0.0;
    if mean != 0u {
        typical = bitcast<f32>(square_root(mean));
    }
}

fn weight(i: u32) -> f32 {
    return typical + abs(x[i]);
}

fn size(difference: f32) -> f32 {
    return difference * difference;
}

// Byte `at` of the first sixteen: two f16, then eight scales and eight minimums of six bits.
fn head_byte(block: u32, at: u32) -> u32 {
    if at < 4u {
        return (heads[block] >> (8u * at)) & 255u;
    }
    let j = (at - 4u) % 4u;
    let low = codes[block * 8u + j];
    let high = codes[block * 8u + j + 4u];
    switch (at - 4u) / 4u {
        case 0u: {
            return (low & 63u) | (((high & 255u) >> 4u) << 6u);
        }
        case 1u: {
            return (low >> 8u) | ((high >> 12u) << 6u);
        }
        default: {
            return (high & 15u) | (((high >> 8u) & 15u) << 4u);
        }
    }
}
