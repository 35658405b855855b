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

// [column / 4][row] and [column / 4][token]; 8 KiB each. Neighbouring threads touch neighbouring vectors.
var<workgroup> left: array<vec4<f32>, 512>;
var<workgroup> right: array<vec4<f32>, 512>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    // Loading: one chunk of eight of one row and of one token each.
    let line = thread & 63u;
    let part = thread >> 6u;
    let store = 2u * part * TILE + line;
    let load_row = min(TILE * workgroup.x + line, params.rows - 1u);
    let load_token = min(TILE * workgroup.y + line, params.tokens - 1u);
    // Computing: every sixteenth row and every sixteenth token, from these on.
    let row = thread & 15u;
    let token = thread >> 4u;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
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
        left[store] = weights.low;
        left[store + TILE] = weights.high;
        right[store] = low;
        right[store + TILE] = high;
        workgroupBarrier();
        for (var quad = 0u; quad < DEPTH / 4u; quad++) {
            let l = quad * TILE + row;
            let r = quad * TILE + token;
            let w0 = left[l];
            let w1 = left[l + 16u];
            let w2 = left[l + 32u];
            let w3 = left[l + 48u];
            let x0 = right[r];
            let x1 = right[r + 16u];
            let x2 = right[r + 32u];
            let x3 = right[r + 48u];
            sum0 += vec4<f32>(dot(w0, x0), dot(w1, x0), dot(w2, x0), dot(w3, x0));
            sum1 += vec4<f32>(dot(w0, x1), dot(w1, x1), dot(w2, x1), dot(w3, x1));
            sum2 += vec4<f32>(dot(w0, x2), dot(w1, x2), dot(w2, x2), dot(w3, x2));
            sum3 += vec4<f32>(dot(w0, x3), dot(w1, x3), dot(w2, x3), dot(w3, x3));
        }
    }
    let out_row = TILE * workgroup.x + row;
    let out_token = TILE * workgroup.y + token;
    write(out_row, out_token, sum0);
    write(out_row, out_token + 16u, sum1);
    write(out_row, out_token + 32u, sum2);
    write(out_row, out_token + 48u, sum3);
}

// Rows row, row + 16, row + 32, row + 48 of one token.
fn write(row: u32, token: u32, sums: vec4<f32>) {
    if token >= params.tokens {
        return;
    }
    let at = token * params.width + params.first_row + row;
    for (var i = 0u; i < 4u; i++) {
        if row + 16u * i < params.rows {
            out[at + 16u * i] = sums[i];
        }
    }
}
