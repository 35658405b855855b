// Blocks of an odd number of 16-bit halves, written as 32-bit words.

var<private> cursor: u32;
var<private> pending: u32;
var<private> waiting: bool;

fn put(half: u32) {
    if waiting {
        output[cursor] = pending | (half << 16u);
        cursor++;
    }
    pending = half;
    waiting = !waiting;
}

// The last half of an odd number of blocks.
fn finish() {
    if waiting {
        output[cursor] = pending;
    }
}
