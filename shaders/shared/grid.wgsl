// The grid of a block between its least and its greatest element.

struct Grid {
    least: u32,
    // f16
    scale: u32,
    offset: u32,
    inverse: Parts,
    // No inverse: all levels are 0.
    usable: bool,
}

// Order of bits as order of numbers, both zeros being one.
fn order(bits: u32) -> u32 {
    if (bits << 1u) == 0u {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn element(first: u32, i: u32) -> u32 {
    let pair = source_pair(first + i / 2u);
    return select(pair.x, pair.y, (i & 1u) == 1u);
}

// Of 32 elements in pairs from `first` on. `top`: the highest level, as f32 bits.
fn find_grid(first: u32, top: u32) -> Grid {
    var least = source_pair(first).x;
    var greatest = least;
    var low = order(least);
    var high = low;
    for (var i = 0u; i < 32u; i++) {
        let x = element(first, i);
        let place = order(x);
        inspect(x);
        least = select(least, x, place < low);
        low = min(low, place);
        greatest = select(greatest, x, place > high);
        high = max(high, place);
    }
    let range = bits_of(subtract(greatest, least));
    let scale = divide(range, top);
    var inverse = Parts(0u, 0);
    var usable = is_finite(range);
    if scale != 0u {
        // A scale under 2^-128 has no finite inverse.
        let bits = divide(0x3f800000u, scale);
        usable &= is_finite(bits);
        inverse = parts(bits);
    }
    let stored = f32_to_f16(scale);
    let offset = f32_to_f16(least);
    if !is_finite(range) || (stored & 0x7c00u) == 0x7c00u || (offset & 0x7c00u) == 0x7c00u {
        mine.faults |= FAULT;
    }
    return Grid(least, stored, offset, inverse, usable);
}

// trunc(fl(fl(fl(x − least) · inverse) + 0.5)), fl rounding to f32.
fn level(x: u32, grid: Grid) -> u32 {
    let product = multiply(subtract(x, grid.least), grid.inverse);
    // Below 2^-4 the sum is below 1.
    if !grid.usable || product.mantissa == 0u || product.exponent < -27 {
        return 0u;
    }
    // Exact in units of 2^-27: the product is at most 31, up to a rounding.
    let sum = 0x4000000u + (product.mantissa << u32(product.exponent + 27));
    // Rounding to 24 bits can lift the sum to the next integer, and so it does from half a unit in the last place below it
    // on (integers are even there, so ties go up).
    let length = 32u - countLeadingZeros(sum);
    return (sum + (1u << (length - 25u))) >> 27u;
}
