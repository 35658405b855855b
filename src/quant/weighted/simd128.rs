//! Weighted groups in SIMD128: four of a row at a time, a lane each.

use super::GROUP;
use crate::quant::fault::Fault;
use crate::quant::search::simd128::{Quad, columns};
use core::arch::wasm32::*;

/// As [`super::for_each`]: four groups by `vector`; those that it refuses, and what is left of a row, by `scalar`.
#[inline(always)]
pub(in crate::quant) fn for_each<Block, Row: Copy>(
    rows: &[f32],
    importance: &[f32],
    blocks: &mut [Block],
    prepare: impl Fn(&[f32]) -> Result<Row, Fault>,
    vector: impl Fn(&[[f32; GROUP]; 4], &[[f32; GROUP]; 4], Row, &mut [Block; 4]) -> bool,
    scalar: impl Fn(&[f32; GROUP], &[f32; GROUP], Row) -> Result<Block, Fault>,
) -> Result<(), Fault> {
    let cols = importance.len();
    for (index, (row, blocks)) in rows.chunks_exact(cols).zip(blocks.chunks_exact_mut(cols / GROUP)).enumerate() {
        let start = index * cols;
        let prepared = prepare(row).map_err(|fault| fault.after(start))?;
        let (groups, importance) = (row.as_chunks::<GROUP>().0, importance.as_chunks::<GROUP>().0);
        let fours = groups.chunks(4).zip(importance.chunks(4)).zip(blocks.chunks_mut(4));
        for (index, ((groups, importance), blocks)) in fours.enumerate() {
            if let (Some(groups), Some(importance), Some(blocks)) =
                (groups.first_chunk(), importance.first_chunk(), blocks.first_chunk_mut())
                && vector(groups, importance, prepared, blocks)
            {
                continue;
            }
            for (i, ((group, importance), block)) in groups.iter().zip(importance).zip(blocks).enumerate() {
                let found = scalar(group, importance, prepared);
                *block = found.map_err(|fault| fault.after(start + (4 * index + i) * GROUP))?;
            }
        }
    }
    Ok(())
}

/// The groups, a lane each, and what their errors count for.
#[inline(always)]
pub(in crate::quant) fn quad(groups: &[[f32; GROUP]; 4], importance: &[[f32; GROUP]; 4], spread: v128) -> Quad<GROUP> {
    let (x, mut weights) = (columns(groups), columns(importance));
    for (weight, x) in weights.iter_mut().zip(x) {
        *weight = f32x4_mul(*weight, f32x4_sqrt(f32x4_add(spread, f32x4_mul(x, x))));
    }
    Quad { x, weights }
}
