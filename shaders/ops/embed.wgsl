// out[t] = table[tokens[t]], for the tokens whose row this part of the table holds. Grid: chunks of eight × tokens.

#import "shared/matrix.wgsl"
#import "unpack/{variant}.wgsl"

struct Params {
    // Chunks of eight weights in a row.
    chunks: u32,
    scale_stride: u32,
    // The part's rows, and those before it.
    rows: u32,
    first_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> tokens: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = tokens[id.y] - params.first_row;
    // Rows before this part wrap to huge numbers.
    if id.x >= params.chunks || row >= params.rows {
        return;
    }
    let weights = unpack(row, id.x);
    let at = 2u * (id.y * params.chunks + id.x);
    out[at] = weights.low;
    out[at + 1u] = weights.high;
}
