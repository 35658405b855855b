// out[t] = (x[t] − m) / sqrt(mean((x[t] − m)²) + eps) · weight + bias; m is the mean of x[t], or 0. A workgroup takes a
// token.

const THREADS = 64u;

struct Params {
    width: u32,
    eps: f32,
    // 1: m is the mean.
    centered: u32,
    // 1: there is a bias; otherwise the binding means nothing.
    biased: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

var<workgroup> partial: array<f32, THREADS>;

// Called by every thread, in uniform control flow.
fn total(thread: u32, mine: f32) -> f32 {
    workgroupBarrier();
    partial[thread] = mine;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < THREADS; i++) {
        sum += partial[i];
    }
    return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let base = workgroup.x * params.width;
    var mean = 0.0;
    if params.centered == 1u {
        var mine = 0.0;
        for (var i = thread; i < params.width; i += THREADS) {
            mine += x[base + i];
        }
        mean = total(thread, mine) / f32(params.width);
    }
    var mine = 0.0;
    for (var i = thread; i < params.width; i += THREADS) {
        let distance = x[base + i] - mean;
        mine += distance * distance;
    }
    let factor = 1.0 / sqrt(total(thread, mine) / f32(params.width) + params.eps);
    for (var i = thread; i < params.width; i += THREADS) {
        var value = (x[base + i] - mean) * factor * weight[i];
        if params.biased == 1u {
            value += bias[i];
        }
        out[base + i] = value;
    }
}
