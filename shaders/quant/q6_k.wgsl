// f32, f16 or bf16 to Q6_K: what src/quant/q6_k/scalar.rs defines.

#import "shared/symmetric.wgsl"

const BYTES = 210u;
const SMALL = 4e-6;
const LARGE = 4096.0;
const HALF = 32.0;

// Σ x²·x·l and Σ x²·l² of an inverse's levels.
fn sums_of(inverse: f32) -> vec2<f32> {
    var sums = vec2<f32>(0.0, 0.0);
    for (var i = 0u; i < SUB; i++) {
        let l = clamp(round(inverse * x[i]), -HALF, HALF - 1.0);
        sums.x += apart(x[i] * x[i] * x[i] * l);
        sums.y += apart(x[i] * x[i] * l * l);
    }
    return sums;
}

// Tries 19 scales.
fn seek(s: u32) -> f32 {
    let element = extreme();
    var best_inverse = quotient(-HALF, element);
    let first = sums_of(best_inverse);
    var scale = 0.0;
    if first.y != 0.0 {
        scale = quotient(first.x, first.y);
    }
    var worth = scale * first.x;
    for (var step = -9; step <= 9; step++) {
        if step == 0 {
            continue;
        }
        let inverse = quotient(-(HALF + apart(0.1 * f32(step))), element);
        let sums = sums_of(inverse);
        if sums.y > 0.0 && sums.x * sums.x > worth * sums.y {
            scale = quotient(sums.x, sums.y);
            worth = scale * sums.x;
            best_inverse = inverse;
        }
    }
    for (var i = 0u; i < SUB; i++) {
        best[s][i] = clamp(round(best_inverse * x[i]), -HALF, HALF - 1.0);
    }
    return scale;
}

fn quantize_scales(block: u32) {
    let scale = extreme_scale(block);
    var inverse = 0.0;
    heads[block] = 0u;
    if scale != 0.0 {
        inverse = quotient(-128.0, scale);
        heads[block] = store_scale(quotient(1.0, inverse));
    }
    for (var s = block * SUBS; s < (block + 1u) * SUBS; s++) {
        codes[s] = u32(min(nearest(inverse * scales[s]), 127)) & 255u;
    }
}

// The signed byte.
fn code_of(code: u32) -> i32 {
    return i32(code << 24u) >> 24u;
}

fn byte_of(block: u32, at: u32) -> u32 {
    if at < 128u {
        let l = at % 64u;
        let element = at / 64u * 128u + l;
        return (level(block, element) & 15u) | ((level(block, element + 64u) & 15u) << 4u);
    }
    if at < 192u {
        let element = (at - 128u) / 32u * 128u + (at - 128u) % 32u;
        return (level(block, element) >> 4u) | ((level(block, element + 32u) >> 4u) << 2u)
            | ((level(block, element + 64u) >> 4u) << 4u) | ((level(block, element + 96u) >> 4u) << 6u);
    }
    if at < 208u {
        return codes[block * SUBS + at - 192u];
    }
    return (heads[block] >> (8u * (at - 208u))) & 255u;
}
