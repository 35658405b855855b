// out[t] = x[t] / sqrt(mean(x[t]²) + eps) · weight. A workgroup takes a token.

const THREADS = 64u;

struct Params {
    width: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> partial: array<f32, THREADS>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let base = workgroup.x * params.width;
    var mine = 0.0;
    for (var i = thread; i < params.width; i += THREADS) {
        mine += x[base + i] * x[base + i];
    }
    partial[thread] = mine;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < THREADS; i++) {
        sum += partial[i];
    }
    let factor = 1.0 / sqrt(sum / f32(params.width) + params.eps);
    for (var i = thread; i < params.width; i += THREADS) {
        out[base + i] = x[base + i] * factor * weight[i];
    }
}
