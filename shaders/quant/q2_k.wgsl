// f32, f16 or bf16 to Q2_K: what src/quant/q2_k/scalar.rs defines.

#import "shared/affine.wgsl"

const BYTES = 84u;
const SUB = 16u;
const SMALL = 1e-9;
const LARGE = 1e6;
const TOP = 3.0;
const FIRST = -0.5;
const STEP = 0.1;
const COUNT = 16u;
const CODE_TOP = 15.0;

fn prepare() {}

fn weight(i: u32) -> f32 {
    return abs(x[i]);
}

fn size(difference: f32) -> f32 {
    return abs(difference);
}

fn byte_of(block: u32, at: u32) -> u32 {
    if at < 16u {
        let code = codes[block * SUBS + at];
        return (code & 15u) | ((code >> 8u) << 4u);
    }
    if at < 80u {
        let element = (at - 16u) / 32u * 128u + (at - 16u) % 32u;
        return level(block, element) | (level(block, element + 32u) << 2u) | (level(block, element + 64u) << 4u)
            | (level(block, element + 96u) << 6u);
    }
    return (heads[block] >> (8u * (at - 80u))) & 255u;
}
