// IEEE 754 binary32 in u32 arithmetic, round to nearest, ties to even.
//
// WGSL promises too little for bytes that must not differ: division may be off by 2.5 ulp, any product may be fused into a
// sum, denormals may be flushed, and the rounding direction is the device's. Integers are exact everywhere.

// |value| = mantissa · 2^exponent, mantissa in [2^23, 2^24), or both 0 for zero.
struct Parts {
    mantissa: u32,
    exponent: i32,
}

fn parts(bits: u32) -> Parts {
    let field = (bits >> 23u) & 0xffu;
    let fraction = bits & 0x7fffffu;
    if field != 0u {
        return Parts(fraction | 0x800000u, i32(field) - 150);
    }
    if fraction == 0u {
        return Parts(0u, 0);
    }
    let shift = countLeadingZeros(fraction) - 8u;
    return Parts(fraction << shift, -149 - i32(shift));
}

fn is_finite(bits: u32) -> bool {
    return (bits & 0x7f800000u) != 0x7f800000u;
}

// The f32 nearest to (quotient + ε) · 2^exponent, quotient in [2^24, 2^25), 0 ≤ ε < 1 and ε > 0 where `sticky`.
fn pack(quotient: u32, exponent: i32, sticky: bool) -> u32 {
    let field = exponent + 151;
    if field > 254 {
        return 0x7f800000u;
    }
    // Below the normal range more than the one guard bit falls off.
    let shift = select(u32(2 - field), 1u, field >= 1);
    if shift > 25u {
        return 0u;
    }
    let kept = quotient >> shift;
    let rest = quotient & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    let up = rest > half || (rest == half && (sticky || (kept & 1u) == 1u));
    // A carry out of the mantissa moves into the exponent by itself.
    return select(0u, u32(field - 1) << 23u, field >= 1) + kept + u32(up);
}

// |a| / |b|, b not zero, both finite.
fn divide(a: u32, b: u32) -> u32 {
    var x = parts(a);
    let y = parts(b);
    if x.mantissa == 0u {
        return 0u;
    }
    if x.mantissa < y.mantissa {
        x.mantissa <<= 1u;
        x.exponent -= 1;
    }
    // The device's quotient is a few units off at most; the exact rest, small enough for 32 bits, says by how many.
    var quotient = u32(f32(x.mantissa) / f32(y.mantissa) * 16777216.0);
    var rest = i32((x.mantissa << 24u) - quotient * y.mantissa);
    while rest < 0 {
        quotient--;
        rest += i32(y.mantissa);
    }
    while rest >= i32(y.mantissa) {
        quotient++;
        rest -= i32(y.mantissa);
    }
    return pack(quotient, x.exponent - y.exponent - 24, rest != 0);
}

// a / b, b not 0.
fn quotient(a: f32, b: f32) -> f32 {
    let sign = (bitcast<u32>(a) ^ bitcast<u32>(b)) & 0x80000000u;
    return bitcast<f32>(divide(bitcast<u32>(a), bitcast<u32>(b)) | sign);
}

// √a, a positive and normal.
fn square_root(a: u32) -> u32 {
    var x = parts(a);
    if (x.exponent & 1) == 0 {
        x.mantissa <<= 1u;
        x.exponent -= 1;
    }
    // √(mantissa · 2^23), as an integer and a rest, found as in divide.
    var root = u32(sqrt(f32(x.mantissa)) * 2896.309376);
    var rest = i32((x.mantissa << 23u) - root * root);
    while rest < 0 {
        root--;
        rest += i32(2u * root + 1u);
    }
    while rest > i32(2u * root) {
        rest -= i32(2u * root + 1u);
        root++;
    }
    // (root + ½)² = root² + root + ¼: never a tie. A carry to 2^24 moves into the exponent by itself.
    let field = u32((x.exponent - 23) / 2 + 150);
    return ((field - 1u) << 23u) + root + u32(rest > i32(root));
}

// |a| · |b| rounded to 24 bits, the exponent unbounded: what f32 gives, except below 2^-126 and above 2^128.
fn multiply(a: Parts, b: Parts) -> Parts {
    if a.mantissa == 0u || b.mantissa == 0u {
        return Parts(0u, 0);
    }
    // 24 × 24 = 48 bits, as high·2^24 + low, from four products of 12-bit halves.
    let a0 = a.mantissa & 0xfffu;
    let a1 = a.mantissa >> 12u;
    let b0 = b.mantissa & 0xfffu;
    let b1 = b.mantissa >> 12u;
    let middle = a0 * b1 + a1 * b0;
    let tail = a0 * b0 + ((middle & 0xfffu) << 12u);
    let high = a1 * b1 + (middle >> 12u) + (tail >> 24u);
    let low = tail & 0xffffffu;
    // The product has 47 or 48 bits; keep 24, and look at what falls off.
    let wide = (high >> 23u) & 1u;
    let kept = select((high << 1u) | (low >> 23u), high, wide == 1u);
    let rest = select((low << 1u) & 0xffffffu, low, wide == 1u);
    let up = u32(rest > 0x800000u || (rest == 0x800000u && (kept & 1u) == 1u));
    // A carry to 2^24 leaves an even mantissa one bit too long: harmless to those who only shift it.
    return Parts(kept + up, a.exponent + b.exponent + 23 + i32(wide));
}

// a − b for finite a ≥ b, rounded to 24 bits. (A difference of f32 is a multiple of 2^-149: below the normal range it is
// exact.)
fn subtract(a: u32, b: u32) -> Parts {
    let swap = (a & 0x7fffffffu) < (b & 0x7fffffffu);
    let x = parts(select(a, b, swap));
    let y = parts(select(b, a, swap));
    // As |large| ± |small|, the difference being no less than 0. Six bits more than 24, the last one standing for all that
    // falls off.
    let large = x.mantissa << 6u;
    let whole = y.mantissa << 6u;
    let shift = min(u32(x.exponent - y.exponent), 31u);
    let small = (whole >> shift) | u32((whole & ((1u << shift) - 1u)) != 0u);
    let sum = select(large - small, large + small, ((a ^ b) >> 31u) == 1u);
    let excess = 8 - i32(countLeadingZeros(sum));
    let down = u32(max(excess, 0));
    let long = sum << (u32(max(-excess, 0)) & 31u);
    let kept = long >> down;
    let rest = long & ((1u << down) - 1u);
    let half = (1u << down) >> 1u;
    let rounded = kept + u32(rest > half || (half != 0u && rest == half && (kept & 1u) == 1u));
    // 2^24 keeps its value with one bit less.
    let carry = rounded >> 24u;
    return Parts(rounded >> carry, select(x.exponent - 6 + excess + i32(carry), 0, sum == 0u));
}

// The bits of a number whose mantissa has no more bits than fit, or infinity.
fn bits_of(value: Parts) -> u32 {
    if value.mantissa == 0u {
        return 0u;
    }
    let field = value.exponent + 150;
    if field > 254 {
        return 0x7f800000u;
    }
    if field >= 1 {
        return (u32(field) << 23u) | (value.mantissa & 0x7fffffu);
    }
    return value.mantissa >> u32(1 - field);
}

// f16 to f32, exact.
fn f16_to_f32(half: u32) -> u32 {
    let sign = (half & 0x8000u) << 16u;
    let field = (half >> 10u) & 0x1fu;
    let fraction = half & 0x3ffu;
    if field == 0x1fu {
        return sign | 0x7f800000u | (fraction << 13u);
    }
    if field != 0u {
        return sign | ((field + 112u) << 23u) | (fraction << 13u);
    }
    if fraction == 0u {
        return sign;
    }
    let shift = countLeadingZeros(fraction) - 21u;
    return sign | ((113u - shift) << 23u) | (((fraction << shift) & 0x3ffu) << 13u);
}

// Finite f32 to f16, overflow to infinity.
fn f32_to_f16(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude >= 0x47800000u {
        return sign | 0x7c00u;
    }
    if magnitude >= 0x38800000u {
        let rebased = magnitude - 0x38000000u;
        return sign | ((rebased + 0xfffu + ((rebased >> 13u) & 1u)) >> 13u);
    }
    // Denormal in f16: multiples of 2^-24.
    let field = magnitude >> 23u;
    if field < 102u {
        return sign;
    }
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    let shift = 126u - field;
    let kept = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    return sign | (kept + u32(rest > half || (rest == half && (kept & 1u) == 1u)));
}

// Finite f32 to bf16, overflow to infinity.
fn f32_to_bf16(bits: u32) -> u32 {
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
