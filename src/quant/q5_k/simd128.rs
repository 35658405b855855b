//! Q5_K in SIMD128: the search is that of [`affine32`].

use super::{Block, KIND, scalar};
use crate::quant::affine32::simd128 as affine32;
use crate::quant::fault::Fault;
use crate::quant::super_block::{GROUP, for_each};

pub(in crate::quant) use super::scalar::dequantize;

pub(in crate::quant) fn quantize(rows: &[f32], importance: Option<&[f32]>, blocks: &mut [Block]) -> Result<(), Fault> {
    for_each(rows, importance, blocks, |weights, importance, block| {
        let mut levels = [0; GROUP];
        block.head = affine32::quantize(&KIND, weights, importance, &mut levels)?;
        scalar::pack(&levels, block);
        Ok(())
    })
}
