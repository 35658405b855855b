// Blocks of 256 elements that are −1, 0 or 1 times the largest magnitude. Four threads take a block; the workgroup's 16
// blocks are put together as bytes, since a block is no whole number of words. BYTES: those of a block.

var<workgroup> maxima: array<u32, THREADS>;
var<workgroup> made: array<u32, 16u * BYTES>;

struct Ternary {
    // f16
    scale: u32,
    inverse: Parts,
    step: f32,
}

// Where the thread's block begins, in elements.
fn block_start(thread: u32, workgroup: u32) -> u32 {
    return workgroup * THREADS * SHARE + thread / 4u * 256u;
}

// Called by every thread, in uniform control flow.
fn find_scale(thread: u32, workgroup: u32) -> Ternary {
    let first = block_start(thread, workgroup);
    var largest = 0u;
    if first < params.count {
        for (var i = 0u; i < 32u; i++) {
            let pair = source_pair(first / 2u + thread % 4u * 32u + i);
            inspect(pair.x);
            inspect(pair.y);
            largest = max(largest, max(pair.x & 0x7fffffffu, pair.y & 0x7fffffffu));
        }
    }
    maxima[thread] = largest;
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
        largest = max(largest, maxima[thread / 4u * 4u + i]);
    }
    var inverse = Parts(0u, 0);
    if largest != 0u {
        // A scale under 2^-128 has no finite inverse: all levels are 1 then.
        let bits = divide(0x3f800000u, largest);
        if is_finite(bits) {
            inverse = parts(bits);
        }
    }
    let scale = f32_to_f16(largest);
    if (scale & 0x7c00u) == 0x7c00u {
        mine.faults |= FAULT;
    }
    return Ternary(scale, inverse, bitcast<f32>(f16_to_f32(scale)));
}

// roundf(x · inverse) + 1, ties away from zero, of an element.
fn trit(element: u32, ternary: Ternary) -> u32 {
    let pair = source_pair(element / 2u);
    let x = select(pair.x, pair.y, (element & 1u) == 1u);
    let product = multiply(parts(x), ternary.inverse);
    // At most 1, up to a rounding; at least 1/2?
    let far = product.mantissa != 0u && product.exponent + i32(product.mantissa >> 24u) >= -24;
    let level = select(1u, select(2u, 0u, (x >> 31u) == 1u), far);
    measure(x, ternary.step * (f32(level) - 1.0));
    return level;
}

// Writes the workgroup's blocks. Called by every thread, in uniform control flow.
fn write_blocks(thread: u32, workgroup: u32) {
    workgroupBarrier();
    let words = (params.count / 256u * BYTES + 3u) / 4u;
    for (var i = thread; i < 4u * BYTES; i += THREADS) {
        let word = workgroup * 4u * BYTES + i;
        if word < words {
            output[word] = made[4u * i] | (made[4u * i + 1u] << 8u) | (made[4u * i + 2u] << 16u) | (made[4u * i + 3u] << 24u);
        }
    }
}
