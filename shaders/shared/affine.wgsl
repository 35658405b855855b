// Scale and minimum of a sub-block: src/quant/search.rs, `affine`. A shader says TOP (the highest level), FIRST, STEP and COUNT
// (its tries), CODE_TOP (the highest quantized scale), and in `weight` and `size` how errors count.

#import "shared/super_block.wgsl"

// By sub-block: what the search found.
var<workgroup> mins: array<f32, BLOCKS * SUBS>;

// Levels of the best try, should the scale vanish: nearest(inverse · (x − start)).
var<private> best_inverse: array<f32, MINE>;
var<private> best_start: array<f32, MINE>;

fn try_level(i: u32, inverse: f32, start: f32) -> f32 {
    return clamp(round(inverse * (x[i] - start)), 0.0, TOP);
}

// Σ w · error of the levels that `inverse` and `start` give.
fn error_of(scale: f32, low: f32, inverse: f32, start: f32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < SUB; i++) {
        let difference = apart(scale * try_level(i, inverse, start)) + low - x[i];
        sum += apart(weight(i) * size(difference));
    }
    return sum;
}

fn search_sub(s: u32, sub: u32, largest: f32) {
    prepare();
    var low = x[0];
    var high = x[0];
    var w_sum = weight(0u);
    var x_sum = apart(w_sum * x[0]);
    for (var i = 1u; i < SUB; i++) {
        low = min(low, x[i]);
        high = max(high, x[i]);
        w_sum += weight(i);
        x_sum += apart(weight(i) * x[i]);
    }
    low = min(low, 0.0);
    scales[sub] = 0.0;
    mins[sub] = -low;
    best_inverse[s] = 0.0;
    best_start[s] = 0.0;
    if high == low || mine.faults != 0u {
        return;
    }
    var inverse = quotient(TOP, high - low);
    var scale = quotient(1.0, inverse);
    var least = error_of(scale, low, inverse, low);
    var best = inverse;
    var start = low;
    for (var i = 0u; i < COUNT; i++) {
        let range = high - low;
        // Levels must round as integers do; else the CPU sees to it.
        if !(range >= SMALL * 0.0001 && range * 65536.0 >= largest - low) {
            mine.faults |= ASK;
            return;
        }
        inverse = quotient(FIRST + apart(STEP * f32(i)) + TOP, range);
        var l_sum = 0.0;
        var ll_sum = 0.0;
        var xl_sum = 0.0;
        for (var k = 0u; k < SUB; k++) {
            let l = try_level(k, inverse, low);
            let wl = apart(weight(k) * l);
            l_sum += wl;
            ll_sum += apart(wl * l);
            xl_sum += apart(wl * x[k]);
        }
        let determinant = apart(w_sum * ll_sum) - apart(l_sum * l_sum);
        if determinant > 0.0 {
            var this_scale = quotient(apart(w_sum * xl_sum) - apart(x_sum * l_sum), determinant);
            var this_low = quotient(apart(ll_sum * x_sum) - apart(l_sum * xl_sum), determinant);
            if this_low > 0.0 {
                this_low = 0.0;
                this_scale = quotient(xl_sum, ll_sum);
            }
            let error = error_of(this_scale, this_low, inverse, low);
            if error < least {
                least = error;
                best = inverse;
                start = low;
                scale = this_scale;
                low = this_low;
            }
        }
    }
    scales[sub] = scale;
    mins[sub] = -low;
    best_inverse[s] = best;
    best_start[s] = start;
}

fn quantize_scales(block: u32) {
    var scale = 0.0;
    var low = 0.0;
    for (var s = block * SUBS; s < (block + 1u) * SUBS; s++) {
        // No max(), which may take −0 for the larger zero.
        if scales[s] > scale {
            scale = scales[s];
        }
        if mins[s] > low {
            low = mins[s];
        }
    }
    var scale_inverse = 0.0;
    var min_inverse = 0.0;
    if scale > 0.0 {
        scale_inverse = quotient(CODE_TOP, scale);
    }
    if low > 0.0 {
        min_inverse = quotient(CODE_TOP, low);
    }
    for (var s = block * SUBS; s < (block + 1u) * SUBS; s++) {
        codes[s] = code(scale_inverse * scales[s]) | (code(min_inverse * mins[s]) << 8u);
    }
    heads[block] = store_scale(quotient(scale, CODE_TOP)) | (store_scale(quotient(low, CODE_TOP)) << 16u);
}

// As a byte, bounded; a number that rounding made negative wraps, as in ggml.
fn code(number: f32) -> u32 {
    return min(u32(nearest(number)) & 255u, u32(CODE_TOP));
}

fn set_levels(s: u32, block: u32, sub: u32) {
    // Exact: 11 bits by 6.
    let scale = bitcast<f32>(f16_to_f32(heads[block] & 0xffffu)) * f32(codes[sub] & 255u);
    let low = bitcast<f32>(f16_to_f32(heads[block] >> 16u)) * f32(codes[sub] >> 8u);
    for (var i = 0u; i < SUB; i++) {
        var level = 0.0;
        if scale != 0.0 {
            level = f32(clamp(nearest(quotient(x[i] + low, scale)), 0, i32(TOP)));
        } else if best_inverse[s] != 0.0 {
            level = try_level(i, best_inverse[s], best_start[s]);
        }
        set_level(sub * SUB + i, u32(level));
        measure(bitcast<u32>(x[i]), scale * level - low);
    }
}
