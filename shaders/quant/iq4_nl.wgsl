// f32, f16 or bf16 to IQ4_NL: the search of src/quant/iq4_nl/scalar.rs in f32.
//
// A block of 32 elements is 18 bytes, d (f16) and 16 × (element j low, element j + 16 high). A thread takes two blocks,
// 9 words.

#import "shared/quant.wgsl"
#import "shared/halves.wgsl"
#import "shared/iq4_search.wgsl"
#import "quant/source/{variant}.wgsl"

fn block(first: u32) {
    load(first);
    let scale = search();
    let stored = f32_to_f16(bitcast<u32>(scale));
    if (stored & 0x7c00u) == 0x7c00u {
        mine.faults |= ASK;
    }
    put(stored);
    let inverse = inverse_of(scale);
    for (var i = 0u; i < 8u; i++) {
        put(levels(i, inverse, bitcast<f32>(f16_to_f32(stored))));
    }
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let two = workgroup.x * THREADS + thread;
    let blocks = params.count / 32u;
    cursor = 9u * two;
    for (var i = 2u * two; i < min(2u * two + 2u, blocks); i++) {
        block(16u * i);
    }
    finish();
    publish(thread, workgroup.x);
}
