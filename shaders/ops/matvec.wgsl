// out[t, r] = Σ_c weights[r, c] · x[t, c] for one token or a few. A workgroup takes four rows; its threads take a row's
// chunks of eight in turn. Grid: rows / 4 × tokens.

#import "shared/matrix.wgsl"
#import "unpack/{variant}.wgsl"

const THREADS = 32u;

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

var<workgroup> partial: array<vec4<f32>, THREADS>;

fn product(row: u32, chunk: u32, low: vec4<f32>, high: vec4<f32>) -> f32 {
    // Past the end the last row is read again, and not written.
    let weights = unpack(min(row, params.rows - 1u), chunk);
    return dot(weights.low, low) + dot(weights.high, high);
}

@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let row = 4u * workgroup.x;
    let token = workgroup.y;
    var sum = vec4<f32>();
    for (var chunk = thread; chunk < params.chunks; chunk += THREADS) {
        let at = 2u * (token * params.chunks + chunk);
        let low = x[at];
        let high = x[at + 1u];
        sum += vec4<f32>(
            product(row, chunk, low, high),
            product(row + 1u, chunk, low, high),
            product(row + 2u, chunk, low, high),
            product(row + 3u, chunk, low, high),
        );
    }
    partial[thread] = sum;
    workgroupBarrier();
    if thread < 4u && row + thread < params.rows {
        var total = 0.0;
        for (var i = 0u; i < THREADS; i++) {
            total += partial[i][thread];
        }
        out[token * params.width + params.first_row + row + thread] = total;
    }
}
