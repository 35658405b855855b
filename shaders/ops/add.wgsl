// x += y over the first `count` elements; a shorter y is repeated.

struct Params {
    count: u32,
    // Elements of y.
    period: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    for (var i = id.x; i < params.count; i += 64u * workgroups.x) {
        x[i] += y[i % params.period];
    }
}
