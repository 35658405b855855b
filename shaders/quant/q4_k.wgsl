// f32, f16 or bf16 to Q4_K: what src/quant/q4_k/scalar.rs defines.

#import "shared/affine32.wgsl"

const BYTES = 144u;
const TOP = 15.0;
const FIRST = -1.0;
const STEP = 0.1;
const COUNT = 21u;

fn byte_of(block: u32, at: u32) -> u32 {
    if at < 16u {
        return head_byte(block, at);
    }
    let element = (at - 16u) / 32u * 64u + (at - 16u) % 32u;
    return level(block, element) | (level(block, element + 32u) << 4u);
}
