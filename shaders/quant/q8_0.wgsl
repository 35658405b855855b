// f32, f16 or bf16 to Q8_0: byte for byte what src/quant/q8_0/scalar.rs defines.
//
// A block of 32 elements is 34 bytes, d (f16) and 32 × i8. A thread takes two blocks, 17 words.

#import "shared/quant.wgsl"
#import "shared/halves.wgsl"
#import "quant/source/{variant}.wgsl"

// roundf(x · inverse), ties away from zero, as the low 8 bits of an i8.
fn level(x: u32, inverse: Parts) -> u32 {
    let product = multiply(parts(x), inverse);
    // Below 0.5 nothing is left. At most 127 otherwise, so the point stands inside the mantissa.
    if product.mantissa == 0u || product.exponent < -24 {
        return 0u;
    }
    let shift = u32(-product.exponent);
    let magnitude = (product.mantissa + (1u << (shift - 1u))) >> shift;
    return select(magnitude, 0u - magnitude, (x >> 31u) == 1u) & 0xffu;
}

fn signed(level: u32) -> f32 {
    return f32(i32(level << 24u) >> 24u);
}

fn block(first: u32) {
    var largest = 0u;
    for (var i = 0u; i < 16u; i++) {
        let pair = source_pair(first + i);
        inspect(pair.x);
        inspect(pair.y);
        largest = max(largest, max(pair.x & 0x7fffffffu, pair.y & 0x7fffffffu));
    }
    let scale = divide(largest, 0x42fe0000u); // 127
    var inverse = Parts(0u, 0);
    if scale != 0u {
        // A scale under 2^-128 has no finite inverse: all levels are 0 then.
        let bits = divide(0x3f800000u, scale);
        if is_finite(bits) {
            inverse = parts(bits);
        }
    }
    let stored = f32_to_f16(scale);
    if (stored & 0x7c00u) == 0x7c00u {
        mine.faults |= FAULT;
    }
    let step = bitcast<f32>(f16_to_f32(stored));
    put(stored);
    for (var i = 0u; i < 16u; i++) {
        let pair = source_pair(first + i);
        let low = level(pair.x, inverse);
        let high = level(pair.y, inverse);
        put(low | (high << 8u));
        measure(pair.x, step * signed(low));
        measure(pair.y, step * signed(high));
    }
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let two = workgroup.x * THREADS + thread;
    let blocks = params.count / 32u;
    cursor = 17u * two;
    for (var i = 2u * two; i < min(2u * two + 2u, blocks); i++) {
        block(16u * i);
    }
    finish();
    publish(thread, workgroup.x);
}
