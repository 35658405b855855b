// out[i] = gelu(x[i]) by the formula with tanh, which is x · sigmoid(2u), over the first `count` elements.

const SQRT_2_OVER_PI = 0.7978846;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    for (var i = id.x; i < params.count; i += 64u * workgroups.x) {
        let value = x[i];
        let u = SQRT_2_OVER_PI * (value + 0.044715 * value * value * value);
        // The power is kept finite: for very negative values the quotient is 0 long before.
        out[i] = value / (1.0 + exp(min(-2.0 * u, 80.0)));
    }
}
