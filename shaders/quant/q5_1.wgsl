// f32, f16 or bf16 to Q5_1: byte for byte what src/quant/q5_1/scalar.rs defines.
//
// A block of 32 elements is 24 bytes, d and m (f16), the fifth bits and 16 × (element j low, element j + 16 high). A thread
// takes two blocks, 12 words.

#import "shared/quant.wgsl"
#import "shared/halves.wgsl"
#import "shared/fifths.wgsl"
#import "shared/grid.wgsl"
#import "quant/source/{variant}.wgsl"

fn block(first: u32) {
    let grid = find_grid(first, 0x41f80000u); // 31
    put(grid.scale);
    put(grid.offset);
    let step = bitcast<f32>(f16_to_f32(grid.scale));
    let offset = bitcast<f32>(f16_to_f32(grid.offset));
    for (var i = 0u; i < 8u; i++) {
        // Elements 2i, 2i + 1, 2i + 16, 2i + 17. One call in a loop: software adapters compile every call anew.
        var levels = vec4<u32>(0u);
        for (var k = 0u; k < 4u; k++) {
            let x = element(first, 2u * i + (k & 1u) + 8u * (k & 2u));
            levels[k] = level(x, grid);
            measure(x, step * f32(levels[k]) + offset);
        }
        keep(i, levels);
    }
    put_levels();
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let two = workgroup.x * THREADS + thread;
    let blocks = params.count / 32u;
    cursor = 12u * two;
    for (var i = 2u * two; i < min(2u * two + 2u, blocks); i++) {
        block(16u * i);
    }
    finish();
    publish(thread, workgroup.x);
}
