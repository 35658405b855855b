// f32, f16 or bf16 to IQ4_XS: the search of src/quant/iq4_nl/scalar.rs in f32, then src/quant/iq4_xs/scalar.rs.
//
// A block of 256 elements is 136 bytes, 34 words: d (f16) and the scales' high bits; their low bits; eight times 16 bytes of
// levels. Four threads take a block, each two of its sub-blocks.

#import "shared/quant.wgsl"
#import "shared/iq4_search.wgsl"
#import "quant/source/{variant}.wgsl"

// The sub-blocks' scales.
var<workgroup> found: array<f32, 128>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let start = workgroup.x * THREADS * SHARE;
    for (var sub = 2u * thread; sub < 2u * thread + 2u; sub++) {
        var scale = 0.0;
        if start + 32u * sub < params.count {
            load(start / 2u + 16u * sub);
            scale = search();
        }
        found[sub] = scale;
    }
    workgroupBarrier();

    let block = thread / 4u;
    if start + 256u * block < params.count {
        var edge = 0.0;
        for (var sub = 0u; sub < 8u; sub++) {
            let scale = found[8u * block + sub];
            edge = select(edge, scale, abs(scale) > abs(edge));
        }
        // −0 where all are 0, as in the reference
        let scale_bits = bitcast<u32>(edge / 32.0) ^ 0x80000000u;
        let scale = bitcast<f32>(scale_bits);
        let inverse = inverse_of(scale);
        let stored = f32_to_f16(scale_bits);
        if (stored & 0x7c00u) == 0x7c00u {
            mine.faults |= ASK;
        }
        var low = 0u;
        var high = 0u;
        for (var sub = 0u; sub < 8u; sub++) {
            let level = clamp(round(inverse * found[8u * block + sub]), -32.0, 31.0);
            let bits = u32(i32(level) + 32);
            low |= (bits & 15u) << (4u * sub);
            high |= (bits >> 4u) << (2u * sub);
            if sub / 2u == thread % 4u {
                load(start / 2u + 128u * block + 16u * sub);
                let sub_inverse = inverse_of(scale * level);
                let step = bitcast<f32>(f16_to_f32(stored)) * level;
                let at = (start / 256u + block) * 34u + 2u + 4u * sub;
                for (var i = 0u; i < 4u; i++) {
                    let first = levels(2u * i, sub_inverse, step);
                    output[at + i] = first | (levels(2u * i + 1u, sub_inverse, step) << 16u);
                }
            }
        }
        if thread % 4u == 0u {
            output[(start / 256u + block) * 34u] = stored | (high << 16u);
            output[(start / 256u + block) * 34u + 1u] = low;
        }
    }
    publish(thread, workgroup.x);
}
