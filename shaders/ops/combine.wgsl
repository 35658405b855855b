// out[t] = Σ_k weight k of token t · x[t·used + k]. Grid: width × tokens.

struct Params {
    width: u32,
    used: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
// [tokens][experts, weights]
@group(0) @binding(2) var<storage, read> routes: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.width {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < params.used; k++) {
        let weight = routes[(2u * id.y + 1u) * params.used + k];
        sum += weight * x[(id.y * params.used + k) * params.width + id.x];
    }
    out[id.y * params.width + id.x] = sum;
}
