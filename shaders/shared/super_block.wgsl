// What the K-quants' shaders share. A workgroup takes sixteen blocks of 256 elements; a thread searches 64 of them, the
// first of four threads quantizes a block's scales, and then each thread computes levels. Sums are the reference's, in its
// order: no product may be fused into one, and quotients and roots are computed exactly. Where an element's size would make
// products denormal or infinite, the CPU is asked to do the workgroup's blocks.
//
// A shader says what SUB (elements of a sub-block), SMALL and LARGE (the magnitudes between which f32 serves) are.

#import "shared/quant.wgsl"
#import "quant/source/{variant}.wgsl"

const BLOCKS = 16u;
// Sub-blocks of a thread, and of a block.
const MINE = SHARE / SUB;
const SUBS = 256u / SUB;

// Four levels a word.
var<workgroup> levels: array<u32, 1024>;
// By sub-block: what the search found.
var<workgroup> scales: array<f32, BLOCKS * SUBS>;
// By sub-block: the quantized scale, and from bit 8 on the quantized minimum.
var<workgroup> codes: array<u32, BLOCKS * SUBS>;
// By block: the f16 that scales the scales, and from bit 16 on the one that scales the minimums.
var<workgroup> heads: array<u32, BLOCKS>;

// The sub-block at hand.
var<private> x: array<f32, SUB>;

// ggml's nearest_int, for any number.
fn nearest(number: f32) -> i32 {
    // Infinity has no fraction bits.
    if !is_finite(bitcast<u32>(number)) {
        return -0x400000;
    }
    return i32(bitcast<u32>(number + 12582912.0) & 0x7fffffu) - 0x400000;
}

// Reads a sub-block; its largest magnitude.
fn take(first: u32) -> f32 {
    var largest = 0.0;
    for (var i = 0u; i < SUB / 2u; i++) {
        let pair = source_pair(first / 2u + i);
        inspect(pair.x);
        inspect(pair.y);
        x[2u * i] = bitcast<f32>(pair.x);
        x[2u * i + 1u] = bitcast<f32>(pair.y);
        largest = max(largest, max(abs(x[2u * i]), abs(x[2u * i + 1u])));
        // A device may take a denormal for zero.
        if is_denormal(pair.x) || is_denormal(pair.y) {
            mine.faults |= ASK;
        }
    }
    if largest != 0.0 && !(largest >= SMALL && largest <= LARGE) {
        mine.faults |= ASK;
    }
    return largest;
}

fn is_denormal(bits: u32) -> bool {
    return (bits & 0x7f800000u) == 0u && (bits & 0x7fffffu) != 0u;
}

// The f16 of a scale of scales; a fault where it is infinite.
fn store_scale(scale: f32) -> u32 {
    let stored = f32_to_f16(bitcast<u32>(scale));
    if (stored & 0x7c00u) == 0x7c00u {
        mine.faults |= FAULT;
    }
    return stored;
}

fn set_level(element: u32, level: u32) {
    let shift = element % 4u * 8u;
    levels[element / 4u] = (levels[element / 4u] & ~(255u << shift)) | (level << shift);
}

fn level(block: u32, element: u32) -> u32 {
    return (levels[block * 64u + element / 4u] >> (element % 4u * 8u)) & 255u;
}

// Writes the workgroup's blocks; `byte_of` says each byte.
fn write_blocks(thread: u32, workgroup: u32, count: u32) {
    let first = workgroup * (BLOCKS * BYTES / 4u);
    let bytes = count * BYTES;
    for (var word = thread; 4u * word < bytes; word += THREADS) {
        var bits = 0u;
        for (var i = 0u; i < 4u; i++) {
            let at = 4u * word + i;
            if at < bytes {
                bits |= byte_of(at / BYTES, at % BYTES) << (8u * i);
            }
        }
        output[first + word] = bits;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let count = min(BLOCKS, params.count / 256u - workgroup.x * BLOCKS);
    let block = thread / 4u;
    let first = (workgroup.x * BLOCKS) * 256u + thread * SHARE;
    if block < count {
        for (var s = 0u; s < MINE; s++) {
            search_sub(s, thread * MINE + s, take(first + s * SUB));
        }
    }
    workgroupBarrier();
    if block < count && thread % 4u == 0u {
        quantize_scales(block);
    }
    workgroupBarrier();
    if block < count {
        for (var s = 0u; s < MINE; s++) {
            take(first + s * SUB);
            set_levels(s, block, thread * MINE + s);
        }
    }
    workgroupBarrier();
    write_blocks(thread, workgroup.x, count);
    publish(thread, workgroup.x);
}
