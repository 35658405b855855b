// The KV cache's layout, chosen so that neighbouring threads read neighbouring words:
// keys [kv_heads][head_dim / 4][context] of vec4, values [kv_heads][context][head_dim / 4] of vec4.

struct Params {
    heads: u32,
    kv_heads: u32,
    // head_dim / 4
    quarters: u32,
    // Positions that the cache holds.
    context: u32,
    // The position of the first token, and how many there are.
    position: u32,
    tokens: u32,
    // The latest tokens that one may attend to.
    window: u32,
    // 1 / sqrt(head_dim)
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

fn key_at(head: u32, quarter: u32, position: u32) -> u32 {
    return (head * params.quarters + quarter) * params.context + position;
}

fn value_at(head: u32, quarter: u32, position: u32) -> u32 {
    return (head * params.context + position) * params.quarters + quarter;
}
