// out[t, i] = silu(gate_up[t, i]) · gate_up[t, width + i]. Grid: width × tokens.

struct Params {
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate_up: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.width {
        return;
    }
    let at = 2u * id.y * params.width + id.x;
    let gate = gate_up[at];
    // e^−gate is kept finite: for very negative gates the quotient is 0 long before.
    out[id.y * params.width + id.x] = gate / (1.0 + exp(min(-gate, 80.0))) * gate_up[at + params.width];
}
