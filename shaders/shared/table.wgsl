// Levels that stand for the values of a table: `VALUES` of the file that imports this.

fn values(levels: vec4<u32>) -> vec4<f32> {
    var table = VALUES;
    return vec4<f32>(table[levels.x], table[levels.y], table[levels.z], table[levels.w]);
}

fn coded(levels: Levels, d: f32) -> Eight {
    return Eight(d * values(levels.low), d * values(levels.high));
}
