// What every quantizer shares: its bindings, and the sums that measure its error.

#import "shared/float.wgsl"

const THREADS = 64u;
// Elements per thread; a workgroup takes THREADS · SHARE.
const SHARE = 64u;

struct Params {
    // Elements of this chunk.
    count: u32,
}

// Of the elements of one workgroup. Not bit-exact: the order of additions and fused products are the device's.
struct Sums {
    // Σ (original − converted)²
    squared: f32,
    // Σ original²
    original: f32,
    // max |original − converted|
    largest: f32,
    // FAULT where an element is NaN or infinite, or would become so: the CPU says where. ASK where the device's floats do not
    // reach: the CPU makes the workgroup's blocks.
    faults: u32,
}

const FAULT = 1u;
const ASK = 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<Sums>;

var<private> mine: Sums;
var<workgroup> theirs: array<Sums, THREADS>;

fn measure(original: u32, converted: f32) {
    let value = bitcast<f32>(original);
    let error = abs(value - converted);
    mine.squared += error * error;
    mine.original += value * value;
    mine.largest = max(mine.largest, error);
}

fn inspect(original: u32) {
    if !is_finite(original) {
        mine.faults |= FAULT;
    }
}

// The same number, which the compiler cannot know: between a product and a sum it keeps them apart.
fn apart(value: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(value) ^ (params.count >> 31u));
}

// Called once by every thread, in uniform control flow.
fn publish(thread: u32, workgroup: u32) {
    theirs[thread] = mine;
    workgroupBarrier();
    if thread == 0u {
        var total = theirs[0];
        for (var i = 1u; i < THREADS; i++) {
            total.squared += theirs[i].squared;
            total.original += theirs[i].original;
            total.largest = max(total.largest, theirs[i].largest);
            total.faults |= theirs[i].faults;
        }
        sums[workgroup] = total;
    }
}
