// f32, f16 or bf16 to TQ1_0: byte for byte what src/quant/tq1_0/scalar.rs defines.
//
// A block of 256 elements is 54 bytes: 32 with five elements each, 32 apart, 16 with five, 16 apart, 4 with four, 4 apart;
// then d (f16).

const BYTES = 54u;

#import "shared/quant.wgsl"
#import "shared/ternary.wgsl"
#import "quant/source/{variant}.wgsl"

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let ternary = find_scale(thread, workgroup.x);
    let first = block_start(thread, workgroup.x);
    let start = thread / 4u * BYTES;
    let quarter = thread % 4u;
    if first < params.count {
        for (var i = 13u * quarter; i < 13u * quarter + 13u; i++) {
            var element = first + i;
            var width = 32u;
            if i >= 48u {
                element += 192u;
                width = 4u;
            } else if i >= 32u {
                element += 128u;
                width = 16u;
            }
            var number = 0u;
            for (var n = 0u; n < 5u; n++) {
                number *= 3u;
                if n < 4u || i < 48u {
                    number += trit(element + width * n, ternary);
                }
            }
            made[start + i] = (number * 256u + 242u) / 243u;
        }
        if quarter == 0u {
            made[start + BYTES - 2u] = ternary.scale & 0xffu;
            made[start + BYTES - 1u] = ternary.scale >> 8u;
        }
    }
    write_blocks(thread, workgroup.x);
    publish(thread, workgroup.x);
}
