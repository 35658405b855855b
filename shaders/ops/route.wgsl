// Chooses each token's experts, best first, and their weights. A thread takes a token: there are few experts.

struct Params {
    // Experts, and those that a token gets.
    count: u32,
    used: u32,
    tokens: u32,
    // 1: weights by SparseMixer, with this jitter; 0: by a softmax over the chosen ones.
    sparse: u32,
    jitter: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [tokens][count]
@group(0) @binding(1) var<storage, read> scores: array<f32>;
// [tokens][experts, weights]
@group(0) @binding(2) var<storage, read_write> routes: array<f32>;

// Whether one of the first k experts of the token is this one.
fn taken(at: u32, k: u32, expert: u32) -> bool {
    for (var i = 0u; i < k; i++) {
        if u32(routes[at + i]) == expert {
            return true;
        }
    }
    return false;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.tokens {
        return;
    }
    let base = id.x * params.count;
    let at = id.x * 2u * params.used;
    var first = 0.0;
    var sum = 0.0;
    for (var k = 0u; k < params.used; k++) {
        var best = params.count;
        for (var i = 0u; i < params.count; i++) {
            if !taken(at, k, i) && (best == params.count || scores[base + i] > scores[base + best]) {
                best = i;
            }
        }
        let score = scores[base + best];
        first = select(first, score, k == 0u);
        var weight = exp(score - first);
        if params.sparse == 1u {
            var close = 0.0;
            for (var i = 0u; i < params.count; i++) {
                let other = scores[base + i];
                if score - other <= 2.0 * params.jitter * max(abs(other), score) && !taken(at, k, i) {
                    close += exp(other - score);
                }
            }
            weight = 1.0 / close;
        }
        routes[at + k] = f32(best);
        routes[at + params.used + k] = weight;
        sum += weight;
    }
    if params.sparse == 0u {
        for (var k = 0u; k < params.used; k++) {
            routes[at + params.used + k] /= sum;
        }
    }
}
