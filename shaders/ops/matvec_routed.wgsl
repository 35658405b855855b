// out[s, first + r] = Σ_c weights[e, r, c] · x[…, c] for each slot s, with e the expert that its token's routes name: the
// shader reads it, so that nothing has to be read back. A workgroup takes four rows of a slot; its threads take a row's
// chunks of eight in turn. A stack of matrices may be in several parts: a workgroup leaves the rows that this part lacks.
// Grid: rows of a matrix / 4 × slots.

#import "shared/matrix.wgsl"
#import "unpack/{variant}.wgsl"

const THREADS = 32u;

struct Params {
    // Chunks of eight weights in a row.
    chunks: u32,
    scale_stride: u32,
    // The part's rows, and those before it in the stack.
    rows: u32,
    first_row: u32,
    // Rows of one matrix of the stack.
    each: u32,
    // The first column in `out`, and its width.
    column: u32,
    width: u32,
    used: u32,
    // 1: a slot has its own row of x; 0: its token has.
    own: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
// [tokens][experts, weights]
@group(0) @binding(4) var<storage, read> routes: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

var<workgroup> partial: array<vec4<f32>, THREADS>;

// Rows before this part wrap to huge numbers.
fn is_here(row: u32, of_matrix: u32) -> bool {
    return of_matrix < params.each && row < params.rows;
}

@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
    let slot = workgroup.y;
    let token = slot / params.used;
    let expert = u32(routes[2u * token * params.used + slot % params.used]);
    let line = select(token, slot, params.own == 1u);
    let of_matrix = 4u * workgroup.x;
    let row = expert * params.each + of_matrix - params.first_row;
    var sum = vec4<f32>();
    for (var chunk = thread; chunk < params.chunks; chunk += THREADS) {
        let at = 2u * (line * params.chunks + chunk);
        let low = x[at];
        let high = x[at + 1u];
        for (var i = 0u; i < 4u; i++) {
            if is_here(row + i, of_matrix + i) {
                let weights = unpack(row + i, chunk);
                sum[i] += dot(weights.low, low) + dot(weights.high, high);
            }
        }
    }
    partial[thread] = sum;
    workgroupBarrier();
    if thread < 4u && is_here(row + thread, of_matrix + thread) {
        var total = 0.0;
        for (var i = 0u; i < THREADS; i++) {
            total += partial[i][thread];
        }
        out[slot * params.width + params.column + of_matrix + thread] = total;
    }
}
