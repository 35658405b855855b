//! Rows of groups of 32 whose errors an importance matrix weighs: what the types that are not K-quants share.

#[cfg(target_feature = "simd128")]
pub(super) mod simd128;

use super::fault::{Fault, magnitude};
use super::super_block::{sum_of_squares, weigh};

/// Weights per group.
pub(super) const GROUP: usize = 32;

/// Quantizes row by row, group by group, each with the importance of its columns and what `prepare` says of its row; a fault
/// tells its place in `rows`.
pub(super) fn for_each<Block, Row: Copy>(
    rows: &[f32],
    importance: &[f32],
    blocks: &mut [Block],
    prepare: impl Fn(&[f32]) -> Result<Row, Fault>,
    quantize: impl Fn(&[f32; GROUP], &[f32; GROUP], Row) -> Result<Block, Fault>,
) -> Result<(), Fault> {
    let cols = importance.len();
    for (index, (row, blocks)) in rows.chunks_exact(cols).zip(blocks.chunks_exact_mut(cols / GROUP)).enumerate() {
        let start = index * cols;
        let prepared = prepare(row).map_err(|fault| fault.after(start))?;
        let groups = row.as_chunks().0.iter().zip(importance.as_chunks().0);
        for (index, ((weights, importance), block)) in groups.zip(blocks).enumerate() {
            let found = quantize(weights, importance, prepared);
            *block = found.map_err(|fault| fault.after(start + index * GROUP))?;
        }
    }
    Ok(())
}

/// The mean square of a row's weights; refuses NaN and infinity.
pub(super) fn mean_square(row: &[f32]) -> Result<f32, Fault> {
    magnitude(row)?;
    Ok(sum_of_squares(row) / row.len() as f32)
}

/// What each weight's error counts for.
pub(super) fn counts(weights: &[f32; GROUP], importance: &[f32; GROUP], spread: f32) -> [f32; GROUP] {
    let mut counts = [0.0; GROUP];
    weigh(spread, weights, importance, &mut counts);
    counts
}
