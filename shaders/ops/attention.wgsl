// out[t] = softmax(q·k / sqrt(head_dim))·v over the cache, causally. A workgroup takes one head of one token and goes over
// the keys in tiles, a key per thread, with a running maximum (Milakov and Gimelshein, 2018: online softmax). Grid: heads ×
// tokens.

#import "shared/cache.wgsl"

const TILE = 64u;

@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> keys: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

// Room for head_dim 256.
var<workgroup> query: array<vec4<f32>, 64>;
var<workgroup> scores: array<f32, TILE>;
var<workgroup> weights: array<f32, TILE>;
// What the groups of threads found, for their sum.
var<workgroup> sums: array<vec4<f32>, TILE>;
var<workgroup> totals: array<f32, TILE>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let head = workgroup.x;
    let token = workgroup.y;
    let kv_head = head / (params.heads / params.kv_heads);
    let width = (params.heads + 2u * params.kv_heads) * params.quarters;
    if thread < params.quarters {
        query[thread] = qkv[token * width + head * params.quarters + thread] * params.scale;
    }
    workgroupBarrier();

    let end = params.position + token + 1u;
    let start = end - min(end, params.window);
    // For the values, a group of threads takes every n-th key, each of its threads a quarter of the head; some may idle.
    let groups = TILE / params.quarters;
    let group = thread / params.quarters;
    let quarter = thread % params.quarters;
    var largest = -3.4e38;
    var total = 0.0;
    var sum = vec4<f32>();
    for (var tile = start; tile < end; tile += TILE) {
        let count = min(TILE, end - tile);
        if thread < count {
            var score = 0.0;
            for (var i = 0u; i < params.quarters; i++) {
                score += dot(query[i], keys[key_at(kv_head, i, tile + thread)]);
            }
            scores[thread] = score;
        }
        workgroupBarrier();
        var peak = largest;
        for (var i = 0u; i < count; i++) {
            peak = max(peak, scores[i]);
        }
        if thread < count {
            weights[thread] = exp(scores[thread] - peak);
        }
        workgroupBarrier();
        let shrink = exp(largest - peak);
        largest = peak;
        total *= shrink;
        sum *= shrink;
        if group < groups {
            for (var i = group; i < count; i += groups) {
                total += weights[i];
                sum += weights[i] * values[value_at(kv_head, quarter, tile + i)];
            }
        }
    }
    sums[thread] = sum;
    totals[thread] = total;
    workgroupBarrier();
    if thread < params.quarters {
        for (var i = thread + params.quarters; i < groups * params.quarters; i += params.quarters) {
            sum += sums[i];
            total += totals[i];
        }
        out[(token * params.heads + head) * params.quarters + thread] = sum / total;
    }
}
