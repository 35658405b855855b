// f32, f16 or bf16 to Q5_K: what src/quant/q5_k/scalar.rs defines.

#import "shared/affine32.wgsl"

const BYTES = 176u;
const TOP = 31.0;
const FIRST = -0.5;
const STEP = 0.1;
const COUNT = 16u;

fn byte_of(block: u32, at: u32) -> u32 {
    if at < 16u {
        return head_byte(block, at);
    }
    if at < 48u {
        var bits = 0u;
        for (var s = 0u; s < 8u; s++) {
            bits |= (level(block, 32u * s + at - 16u) >> 4u) << s;
        }
        return bits;
    }
    let element = (at - 48u) / 32u * 64u + (at - 48u) % 32u;
    return (level(block, element) & 15u) | ((level(block, element + 32u) & 15u) << 4u);
}
