// out[t, r] = Σ_c weights[r, c] · x[t, c] for many tokens: tiles of 64 rows × 64 tokens × 32 columns in workgroup memory,
// 4 × 4 results a thread. Grid: rows / 64 × tokens / 64.

#import "shared/matrix.wgsl"
#import "unpack/{variant}.wgsl"

const TILE = 64u;
const DEPTH = 32u;

struct Params {
    // Chunks of eight weights in a row.
    chunks: u32,
    scale_stride: u32,
    // The part's rows, those before it, and those of the whole matrix: the width of `out`.
    rows: u32,
    first_row: u32,
    width: u32,
    tokens: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// [column][row] and [column][token]; 8 KiB each.
var<workgroup> left: array<f32, 2048>;
var<workgroup> right: array<f32, 2048>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    // Loading: one chunk of eight of one row and of one token each.
    let line = thread & 63u;
    let part = thread >> 6u;
    let load_row = min(TILE * workgroup.x + line, params.rows - 1u);
    let load_token = min(TILE * workgroup.y + line, params.tokens - 1u);
    // Computing: four rows and four tokens each.
    let row = 4u * (thread & 15u);
    let token = 4u * (thread >> 4u);
    var sums = array<vec4<f32>, 4>();
    for (var first = 0u; first < params.chunks; first += DEPTH / 8u) {
        let chunk = first + part;
        var weights = Eight();
        var low = vec4<f32>();
        var high = vec4<f32>();
        if chunk < params.chunks {
            weights = unpack(load_row, chunk);
            let at = 2u * (load_token * params.chunks + chunk);
            low = x[at];
            high = x[at + 1u];
        }
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            let column = 8u * part + i;
            left[column * TILE + line] = weights.low[i];
            left[(column + 4u) * TILE + line] = weights.high[i];
            right[column * TILE + line] = low[i];
            right[(column + 4u) * TILE + line] = high[i];
        }
        workgroupBarrier();
        for (var column = 0u; column < DEPTH; column++) {
            let l = column * TILE + row;
            let r = column * TILE + token;
            let w = vec4<f32>(left[l], left[l + 1u], left[l + 2u], left[l + 3u]);
            sums[0] += right[r] * w;
            sums[1] += right[r + 1u] * w;
            sums[2] += right[r + 2u] * w;
            sums[3] += right[r + 3u] * w;
        }
    }
    for (var t = 0u; t < 4u; t++) {
        let out_token = TILE * workgroup.y + token + t;
        for (var r = 0u; r < 4u; r++) {
            let out_row = TILE * workgroup.x + row + r;
            if out_token < params.tokens && out_row < params.rows {
                out[out_token * params.width + params.first_row + out_row] = sums[t][r];
            }
        }
    }
}
