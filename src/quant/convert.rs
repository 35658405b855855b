//! From one scheme's bytes to another's, with the error measured, in pieces that stay in the first-level cache.

use super::errors::{Errors, error_sums};
use super::{Kernels, Scheme};
use crate::error::Result;

/// Weights that are decoded, encoded, decoded again and compared before the next ones: 2 · 8 kB of f32. A multiple of
/// every group.
const PIECE: usize = 2048;

/// Converts whole rows of `cols` weights. `from` and `to` have one plane each; the groups of both divide `cols`; `out` is
/// exactly as long as `to` needs. Fails as [`Scheme::quantize`] does, the index in the message counting from the start of
/// `source`.
pub fn convert(
    kernels: Kernels,
    from: &dyn Scheme,
    to: &dyn Scheme,
    cols: usize,
    source: &[u8],
    out: &mut [u8],
) -> Result<Errors> {
    convert_weighed(kernels, from, to, cols, None, source, out)
}

/// As [`convert`]. `importance`: one value per column; a row is then quantized at once, since schemes weigh a group by what
/// the whole row is like.
pub fn convert_weighed(
    kernels: Kernels,
    from: &dyn Scheme,
    to: &dyn Scheme,
    cols: usize,
    importance: Option<&[f32]>,
    source: &[u8],
    out: &mut [u8],
) -> Result<Errors> {
    let (from_type, to_type) = (from.spec().dtype, to.spec().dtype);
    for dtype in [from_type, to_type] {
        assert!(cols.is_multiple_of(dtype.group) && PIECE.is_multiple_of(dtype.group), "{} in {cols}", dtype.name);
    }
    let weights = source.len() / from_type.group_bytes * from_type.group;
    assert!(source.len().is_multiple_of(from_type.group_bytes) && weights.is_multiple_of(cols));
    assert_eq!(out.len(), weights / to_type.group * to_type.group_bytes);

    let piece = if importance.is_some() { cols } else { PIECE };
    let (mut on_stack, mut on_heap) = ([0f32; 2 * PIECE], Vec::new());
    let room = match importance {
        None => &mut on_stack[..],
        Some(_) => {
            on_heap.resize(2 * cols, 0f32);
            &mut on_heap[..]
        }
    };
    let (original, restored) = room.split_at_mut(piece);
    let mut errors = Errors::default();
    let pieces = source.chunks(piece / from_type.group * from_type.group_bytes);
    for (source_piece, out) in pieces.zip(out.chunks_mut(piece / to_type.group * to_type.group_bytes)) {
        let len = source_piece.len() / from_type.group_bytes * from_type.group;
        let (original, restored) = (&mut original[..len], &mut restored[..len]);
        from.dequantize(kernels, &[source_piece], len, original);
        if from_type == to_type {
            // Blocks that are already of this type stay as they are: quantizing again would lose once more.
            out.copy_from_slice(source_piece);
            let piece = error_sums(kernels, original, original);
            if !piece.original_squared.is_finite() {
                return Err(error_in_rows(kernels, from, to, cols, importance, source));
            }
            errors += piece;
        } else {
            if to.quantize(kernels, original, len, importance, &mut [out]).is_err() {
                return Err(error_in_rows(kernels, from, to, cols, importance, source));
            }
            to.dequantize(kernels, &[out], len, restored);
            errors += error_sums(kernels, original, restored);
        }
    }
    Ok(errors)
}

/// The error of some piece as it is when the rows are quantized at once: with their indices.
#[cold]
fn error_in_rows(
    kernels: Kernels,
    from: &dyn Scheme,
    to: &dyn Scheme,
    cols: usize,
    importance: Option<&[f32]>,
    source: &[u8],
) -> crate::Error {
    let mut rows = vec![0f32; source.len() / from.spec().dtype.group_bytes * from.spec().dtype.group];
    from.dequantize(kernels, &[source], cols, &mut rows);
    let mut out = vec![0u8; rows.len() / to.spec().dtype.group * to.spec().dtype.group_bytes];
    let result = to.quantize(kernels, &rows, cols, importance, &mut [&mut out]);
    result.expect_err("groups are quantized each on its own, and one of them failed before")
}
