// f32, f16 or bf16 to Q5_0: byte for byte what src/quant/q5_0/scalar.rs defines.
//
// A block of 32 elements is 22 bytes, d (f16), the fifth bits and 16 × (element j low, element j + 16 high). A thread takes
// two blocks, 11 words.

#import "shared/quant.wgsl"
#import "shared/halves.wgsl"
#import "shared/fifths.wgsl"
#import "quant/source/{variant}.wgsl"

// min(31, trunc(fl(fl(x · inverse) + 16.5))), fl rounding to f32. `negative`: the sign of x · inverse.
fn level(x: u32, inverse: Parts, negative: bool) -> u32 {
    let product = multiply(parts(x), inverse);
    // Below 2^-3 the sum is far from any integer.
    if product.exponent < -26 || product.mantissa == 0u {
        return 16u;
    }
    // Exact in units of 2^-26: |product| ≤ 16, up to a rounding.
    let offset = product.mantissa << u32(product.exponent + 26);
    let sum = select(0x42000000u + offset, 0x42000000u - offset, negative);
    // Rounding to 24 bits can lift the sum to the next integer, and so it does from half a unit in the last place below it
    // on (integers are even there, so ties go up).
    let length = 32u - countLeadingZeros(sum);
    let half = select(0u, 1u << (max(length, 25u) - 25u), length >= 25u);
    return min(31u, (sum + half) >> 26u);
}

fn block(first: u32) {
    var largest = 0u;
    // The first element of the largest magnitude, with its sign.
    var extreme = 0u;
    for (var i = 0u; i < 16u; i++) {
        let pair = source_pair(first + i);
        inspect(pair.x);
        inspect(pair.y);
        if (pair.x & 0x7fffffffu) > largest {
            largest = pair.x & 0x7fffffffu;
            extreme = pair.x;
        }
        if (pair.y & 0x7fffffffu) > largest {
            largest = pair.y & 0x7fffffffu;
            extreme = pair.y;
        }
    }
    let magnitude = divide(largest, 0x41800000u); // 16
    // d = extreme / −16.
    let sign = (extreme & 0x80000000u) ^ 0x80000000u;
    var inverse = Parts(0u, 0);
    var usable = true;
    if magnitude != 0u {
        // A scale under 2^-128 has no finite inverse: all levels are 0 then.
        let bits = divide(0x3f800000u, magnitude);
        usable = is_finite(bits);
        inverse = parts(bits);
    }
    let stored = f32_to_f16(sign | magnitude);
    if (stored & 0x7c00u) == 0x7c00u {
        mine.faults |= FAULT;
    }
    let step = bitcast<f32>(f16_to_f32(stored));
    put(stored);
    for (var i = 0u; i < 8u; i++) {
        let near = source_pair(first + i);
        let far = source_pair(first + 8u + i);
        let a = select(0u, level(near.x, inverse, ((near.x ^ sign) >> 31u) == 1u), usable);
        let b = select(0u, level(near.y, inverse, ((near.y ^ sign) >> 31u) == 1u), usable);
        let c = select(0u, level(far.x, inverse, ((far.x ^ sign) >> 31u) == 1u), usable);
        let d = select(0u, level(far.y, inverse, ((far.y ^ sign) >> 31u) == 1u), usable);
        keep(i, vec4<u32>(a, b, c, d));
        measure(near.x, step * (f32(a) - 16.0));
        measure(near.y, step * (f32(b) - 16.0));
        measure(far.x, step * (f32(c) - 16.0));
        measure(far.y, step * (f32(d) - 16.0));
    }
    put_levels();
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let two = workgroup.x * THREADS + thread;
    let blocks = params.count / 32u;
    cursor = 11u * two;
    for (var i = 2u * two; i < min(2u * two + 2u, blocks); i++) {
        block(16u * i);
    }
    finish();
    publish(thread, workgroup.x);
}
