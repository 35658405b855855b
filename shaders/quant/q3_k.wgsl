// f32, f16 or bf16 to Q3_K: what src/quant/q3_k/scalar.rs defines.

#import "shared/symmetric.wgsl"

const BYTES = 110u;
const SMALL = 6e-5;
const LARGE = 4096.0;
const HALF = 4.0;

// From the levels of scale −m / 4 on, moves one after the other while that lowers the error.
fn seek(s: u32) -> f32 {
    let inverse = quotient(-HALF, extreme());
    var xl_sum = 0.0;
    var ll_sum = 0.0;
    for (var i = 0u; i < SUB; i++) {
        let l = clamp(round(inverse * x[i]), -HALF, HALF - 1.0);
        best[s][i] = l;
        xl_sum += apart(x[i] * x[i] * x[i] * l);
        ll_sum += apart(x[i] * x[i] * l * l);
    }
    for (var turn = 0u; turn < 5u; turn++) {
        var changed = false;
        for (var i = 0u; i < SUB; i++) {
            let square = x[i] * x[i];
            let cube = square * x[i];
            let l = best[s][i];
            var xl = xl_sum - apart(cube * l);
            if xl > 0.0 {
                var ll = ll_sum - apart(square * l * l);
                let fresh = f32(clamp(nearest(quotient(apart(x[i] * ll), xl)), -4, 3));
                if fresh != l {
                    xl += apart(cube * fresh);
                    ll += apart(square * fresh * fresh);
                    if ll > 0.0 && xl * xl * ll_sum > xl_sum * xl_sum * ll {
                        best[s][i] = fresh;
                        xl_sum = xl;
                        ll_sum = ll;
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    if ll_sum > 0.0 {
        return quotient(xl_sum, ll_sum);
    }
    return 0.0;
}

fn quantize_scales(block: u32) {
    let scale = extreme_scale(block);
    var inverse = 0.0;
    heads[block] = 0u;
    if scale != 0.0 {
        inverse = quotient(-32.0, scale);
        heads[block] = store_scale(quotient(1.0, inverse));
    }
    for (var s = block * SUBS; s < (block + 1u) * SUBS; s++) {
        // Where every scale is 0, ggml leaves all bits so.
        codes[s] = select(0u, u32(clamp(nearest(inverse * scales[s]), -32, 31) + 32), scale != 0.0);
    }
}

fn code_of(code: u32) -> i32 {
    return i32(code) - 32;
}

fn byte_of(block: u32, at: u32) -> u32 {
    if at < 32u {
        var bits = 0u;
        for (var s = 0u; s < 8u; s++) {
            bits |= (level(block, 32u * s + at) >> 2u) << s;
        }
        return bits;
    }
    if at < 96u {
        let element = (at - 32u) / 32u * 128u + (at - 32u) % 32u;
        return (level(block, element) & 3u) | ((level(block, element + 32u) & 3u) << 2u)
            | ((level(block, element + 64u) & 3u) << 4u) | ((level(block, element + 96u) & 3u) << 6u);
    }
    let first = block * SUBS;
    if at < 104u {
        return (codes[first + at - 96u] & 15u) | ((codes[first + at - 88u] & 15u) << 4u);
    }
    if at < 108u {
        let j = first + at - 104u;
        return (codes[j] >> 4u) | ((codes[j + 4u] >> 4u) << 2u) | ((codes[j + 8u] >> 4u) << 4u)
            | ((codes[j + 12u] >> 4u) << 6u);
    }
    return (heads[block] >> (8u * (at - 108u))) & 255u;
}
