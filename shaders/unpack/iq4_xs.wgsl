// IQ4_XS: 34 words for 256 weights. Words 0–31: levels; 32–33: a factor for every 32.
#import "shared/levels.wgsl"
#import "shared/iq4.wgsl"
#import "shared/table.wgsl"

fn unpack(row: u32, chunk: u32) -> Eight {
    let block = chunk >> 5u;
    let c = chunk & 31u;
    let base = (row * (params.chunks >> 5u) + block) * 34u;
    return coded(four_bits(base, c), scale(row, block) * factor(base + 32u, c >> 2u));
}
