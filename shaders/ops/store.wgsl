// Appends the keys and values of qkv to the cache. Grid: quarters of all KV heads × tokens.

#import "shared/cache.wgsl"

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> keys: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> values: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let count = params.kv_heads * params.quarters;
    if id.x >= count {
        return;
    }
    let head = id.x / params.quarters;
    let quarter = id.x % params.quarters;
    let width = (params.heads + 2u * params.kv_heads) * params.quarters;
    let at = id.y * width + params.heads * params.quarters + id.x;
    keys[key_at(head, quarter, params.position + id.y)] = qkv[at];
    values[value_at(head, quarter, params.position + id.y)] = qkv[at + count];
}
