// What Q3_K and Q6_K share: sub-blocks of 16 with a scale and no minimum. A shader says HALF (levels are −HALF … HALF − 1, HALF
// added as they are stored), and in `seek` how it finds a scale.

#import "shared/super_block.wgsl"

const SUB = 16u;

// Levels of the search, should the scale vanish; all 0 where `found` is not set.
var<private> best: array<array<f32, SUB>, MINE>;
var<private> found: array<bool, MINE>;

fn search_sub(s: u32, sub: u32, largest: f32) {
    scales[sub] = 0.0;
    found[s] = false;
    // SMALL is above what counts as zero.
    if largest != 0.0 && mine.faults == 0u {
        scales[sub] = seek(s);
        found[s] = true;
    }
}

// The first element of the largest magnitude.
fn extreme() -> f32 {
    var element = 0.0;
    for (var i = 0u; i < SUB; i++) {
        if abs(x[i]) > abs(element) {
            element = x[i];
        }
    }
    return element;
}

// The first scale of the largest magnitude.
fn extreme_scale(block: u32) -> f32 {
    var scale = 0.0;
    for (var s = block * SUBS; s < (block + 1u) * SUBS; s++) {
        if abs(scales[s]) > abs(scale) {
            scale = scales[s];
        }
    }
    return scale;
}

fn set_levels(s: u32, block: u32, sub: u32) {
    // Exact: 11 bits by 8.
    let scale = bitcast<f32>(f16_to_f32(heads[block])) * f32(code_of(codes[sub]));
    for (var i = 0u; i < SUB; i++) {
        var level = -HALF;
        if scale != 0.0 {
            level = f32(clamp(nearest(quotient(x[i], scale)), -i32(HALF), i32(HALF) - 1));
        } else if found[s] {
            level = best[s][i];
        }
        set_level(sub * SUB + i, u32(level + HALF));
        measure(bitcast<u32>(x[i]), scale * level);
    }
}
