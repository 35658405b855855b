// f32, f16 or bf16 to F16, ties to even. A thread takes every 64th pair of its workgroup's elements.

#import "shared/quant.wgsl"
#import "quant/source/{variant}.wgsl"

fn narrow(original: u32) -> u32 {
    inspect(original);
    let half = f32_to_f16(original);
    let back = f16_to_f32(half);
    inspect(back);
    measure(original, bitcast<f32>(back));
    return half;
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let first = workgroup.x * THREADS * SHARE / 2u + thread;
    for (var i = 0u; i < SHARE / 2u; i++) {
        let index = first + i * THREADS;
        if 2u * index < params.count {
            let pair = source_pair(index);
            var word = narrow(pair.x);
            if 2u * index + 1u < params.count {
                word |= narrow(pair.y) << 16u;
            }
            output[index] = word;
        }
    }
    publish(thread, workgroup.x);
}
