// Rotates the leading 2·pairs elements of every query and key head in place, i with i + pairs. Grid: pairs of all heads ×
// tokens.

struct Params {
    // Heads that rotate: queries' and keys'.
    heads: u32,
    head_dim: u32,
    pairs: u32,
    // Width of a token's queries, keys and values.
    width: u32,
    // The position of the first token.
    position: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> qkv: array<f32>;
// [position][cosines, sines]
@group(0) @binding(2) var<storage, read> table: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.heads * params.pairs {
        return;
    }
    let head = id.x / params.pairs;
    let pair = id.x % params.pairs;
    let angle = 2u * params.pairs * (params.position + id.y) + pair;
    let cosine = table[angle];
    let sine = table[angle + params.pairs];
    let at = id.y * params.width + head * params.head_dim + pair;
    let a = qkv[at];
    let b = qkv[at + params.pairs];
    qkv[at] = a * cosine - b * sine;
    qkv[at + params.pairs] = b * cosine + a * sine;
}
