// f32, f16 or bf16 to MXFP4: byte for byte what src/quant/mxfp4/scalar.rs defines.
//
// A block of 32 elements is 17 bytes, e (E8M0) and 16 × (element j low, element j + 16 high). Every other thread takes four
// blocks, 17 words.

#import "shared/quant.wgsl"
#import "quant/source/{variant}.wgsl"

var<private> word: u32;
var<private> bytes: u32;
var<private> cursor: u32;

fn put(byte: u32) {
    word |= byte << (8u * (bytes & 3u));
    bytes++;
    if (bytes & 3u) == 0u {
        output[cursor] = word;
        cursor++;
        word = 0u;
    }
}

// ⌊log2⌋ of a number that is not 0, the logarithm being rounded to f32: just below a power of two it may reach it.
fn floor_log2(x: Parts) -> i32 {
    // x = 2^next · (1 − gap · 2^-24)
    let next = x.exponent + 24;
    let gap = 0x1000000u - x.mantissa;
    // Gaps vanish up to ln 2 times the power of two at or below |log2|.
    var power = 0u;
    if next >= 2 {
        power = 1u << firstLeadingBit(u32(next - 1));
    } else if next < 0 {
        power = 1u << firstLeadingBit(u32(-next));
    }
    return select(next - 1, next, gap <= (power * 45426u) >> 16u);
}

// `shift`: from units of the element's mantissa to half-units of the scale.
fn level(x: u32, scale: i32, highest: u32) -> u32 {
    let value = parts(x);
    let shift = scale - value.exponent;
    if value.mantissa == 0u || shift >= 24 {
        return 0u;
    }
    // Twice the size in units of the scale, rounded up; a middle between neighbours goes to the smaller.
    let doubled = (value.mantissa + (1u << u32(shift)) - 1u) >> u32(shift);
    var level = u32(doubled > 1u) + u32(doubled > 3u) + u32(doubled > 5u) + u32(doubled > 7u);
    level += u32(doubled > 10u) + u32(doubled > 14u) + u32(doubled > 20u);
    level = min(level, highest);
    return select(0u, level | ((x >> 31u) << 3u), level > 0u);
}

fn measure_level(x: u32, level: u32, step: f32) {
    // 0, 1, 2, 3, 4, 6, 8, 12
    let low = level & 7u;
    let high = max(low, 4u);
    let size = step * f32(select((2u + (high & 1u)) << (high / 2u - 1u), low, low < 4u));
    measure(x, select(size, -size, level >= 8u));
}

fn block(first: u32) {
    var largest = 0u;
    for (var i = 0u; i < 16u; i++) {
        let pair = source_pair(first + i);
        inspect(pair.x);
        inspect(pair.y);
        largest = max(largest, max(pair.x & 0x7fffffffu, pair.y & 0x7fffffffu));
    }
    var e = 0u;
    if largest != 0u {
        // Below 2^-125 the low eight bits of a negative number.
        e = u32(floor_log2(parts(largest)) + 125) & 0xffu;
    }
    // Half of 2^(e − 128).
    let scale = i32(e) - 129;
    // Where twelve and eight times the scale would be infinite, nothing is near to them.
    let highest = select(7u, 5u, e == 253u);
    let step = bitcast<f32>(select(max(e, 1u) - 1u, 0u, e < 2u) << 23u);
    put(e);
    for (var i = 0u; i < 8u; i++) {
        let near = source_pair(first + i);
        let far = source_pair(first + 8u + i);
        let a = level(near.x, scale, highest);
        let b = level(near.y, scale, highest);
        let c = level(far.x, scale, highest);
        let d = level(far.y, scale, highest);
        put(a | (c << 4u));
        put(b | (d << 4u));
        measure_level(near.x, a, step);
        measure_level(near.y, b, step);
        measure_level(far.x, c, step);
        measure_level(far.y, d, step);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    if (thread & 1u) == 0u {
        let four = (workgroup.x * THREADS + thread) / 2u;
        let blocks = params.count / 32u;
        cursor = 17u * four;
        for (var i = 4u * four; i < min(4u * four + 4u, blocks); i++) {
            block(16u * i);
        }
        if (bytes & 3u) != 0u {
            output[cursor] = word;
        }
    }
    publish(thread, workgroup.x);
}
