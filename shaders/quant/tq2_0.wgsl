// f32, f16 or bf16 to TQ2_0: byte for byte what src/quant/tq2_0/scalar.rs defines.
//
// A block of 256 elements is 66 bytes: in each half of 128 elements byte l has the elements l, l + 32, l + 64 and l + 96,
// two bits each; then d (f16).

const BYTES = 66u;

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
        for (var i = 16u * quarter; i < 16u * quarter + 16u; i++) {
            let element = first + i / 32u * 128u + i % 32u;
            var byte = 0u;
            for (var n = 0u; n < 4u; n++) {
                byte |= trit(element + 32u * n, ternary) << (2u * n);
            }
            made[start + i] = byte;
        }
        if quarter == 0u {
            made[start + BYTES - 2u] = ternary.scale & 0xffu;
            made[start + BYTES - 1u] = ternary.scale >> 8u;
        }
    }
    write_blocks(thread, workgroup.x);
    publish(thread, workgroup.x);
}
