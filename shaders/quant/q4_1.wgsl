// f32, f16 or bf16 to Q4_1: byte for byte what src/quant/q4_1/scalar.rs defines.
//
// A block of 32 elements is 20 bytes, d and m (f16) and 16 × (element j low, element j + 16 high). A thread takes two
// blocks, 10 words.

#import "shared/quant.wgsl"
#import "shared/halves.wgsl"
#import "shared/grid.wgsl"
#import "quant/source/{variant}.wgsl"

fn block(first: u32) {
    let grid = find_grid(first, 0x41700000u); // 15
    put(grid.scale);
    put(grid.offset);
    let step = bitcast<f32>(f16_to_f32(grid.scale));
    let offset = bitcast<f32>(f16_to_f32(grid.offset));
    for (var i = 0u; i < 8u; i++) {
        let near = source_pair(first + i);
        let far = source_pair(first + 8u + i);
        let a = min(15u, level(near.x, grid));
        let b = min(15u, level(near.y, grid));
        let c = min(15u, level(far.x, grid));
        let d = min(15u, level(far.y, grid));
        put(a | (c << 4u) | (b << 8u) | (d << 12u));
        measure(near.x, step * f32(a) + offset);
        measure(near.y, step * f32(b) + offset);
        measure(far.x, step * f32(c) + offset);
        measure(far.y, step * f32(d) + offset);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let two = workgroup.x * THREADS + thread;
    let blocks = params.count / 32u;
    cursor = 10u * two;
    for (var i = 2u * two; i < min(2u * two + 2u, blocks); i++) {
        block(16u * i);
    }
    finish();
    publish(thread, workgroup.x);
}
