//! The only tensor names.

/// What a tensor is for, with its layer where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    TokenEmbedding,
    OutputNorm,
    Output,
    AttentionNorm(usize),
    /// Rows: queries, keys, values, one after another.
    Qkv(usize),
    /// The same three as separate tensors: part 0, 1, 2 of [`Role::Qkv`].
    QkvPart(usize, usize),
    AttentionOutput(usize),
    FfnNorm(usize),
    /// Rows: gate, then up.
    GateUp(usize),
    /// Part 0 (gate) or 1 (up) of [`Role::GateUp`].
    GateUpPart(usize, usize),
    FfnDown(usize),
    RopeFactorsLong,
    RopeFactorsShort,
}
