// f32, f16 or bf16 to F32: exact. A thread takes every 64th pair of its workgroup's elements.

#import "shared/quant.wgsl"
#import "quant/source/{variant}.wgsl"

fn keep(index: u32, original: u32) {
    inspect(original);
    measure(original, bitcast<f32>(original));
    output[index] = original;
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let first = workgroup.x * THREADS * SHARE / 2u + thread;
    for (var i = 0u; i < SHARE / 2u; i++) {
        let index = first + i * THREADS;
        if 2u * index < params.count {
            let pair = source_pair(index);
            keep(2u * index, pair.x);
            if 2u * index + 1u < params.count {
                keep(2u * index + 1u, pair.y);
            }
        }
    }
    publish(thread, workgroup.x);
}
