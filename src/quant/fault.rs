//! Why a kernel refused its input. Kernels report a position; the sentence is made once, here.

use super::SchemeSpec;
use crate::error::{Error, ErrorKind};

/// The first weight (in order) that a scheme cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The weight at this index is NaN or infinite.
    NotFinite(usize),
    /// Finite, but too large: the weight itself (float schemes) or the scale of the group that begins there would
    /// become infinite. ggml writes the infinity, and `llama-quantize` then fails in its validation.
    Overflow(usize),
}

impl Fault {
    /// The fault of a group's kernel, moved to where the group begins.
    pub(super) fn after(self, start: usize) -> Fault {
        match self {
            Fault::NotFinite(index) => Fault::NotFinite(start + index),
            Fault::Overflow(index) => Fault::Overflow(start + index),
        }
    }

    /// The error that a caller sees. `rows`: what was to be quantized, in rows of `cols`.
    pub(super) fn into_error(self, spec: &SchemeSpec, rows: &[f32], cols: usize) -> Error {
        let name = spec.dtype.name;
        let message = match self {
            Fault::NotFinite(index) => {
                let what = if rows[index].is_nan() { "NaN" } else { "infinite" };
                format!(
                    "weight {index} of the rows given (row {}, column {}) is {what}: the checkpoint is damaged or its \
                     training failed; get it again or take another revision",
                    index / cols,
                    index % cols
                )
            }
            Fault::Overflow(index) => {
                let group = &rows[index..index + spec.dtype.group];
                let largest = group.iter().fold(0.0f32, |a, x| a.max(x.abs()));
                let (what, cure) = match (name, spec.dtype.group) {
                    ("F16", _) => ("numbers past 65504", "choose BF16, F32 or Q8_0 for this tensor"),
                    (_, 1) => ("numbers past 3.39e38", "choose F32 for this tensor"),
                    _ => ("a scale or an offset past 65504", "choose BF16 or F32 for this tensor"),
                };
                format!(
                    "weight {index} of the rows given (row {}, column {}): a magnitude of {largest:e} is too large for \
                     {name}, which cannot hold {what}; {cure}",
                    index / cols,
                    index % cols
                )
            }
        };
        Error::new(ErrorKind::NotFinite, message)
    }
}

/// The largest |w| of a group, or the first weight that is NaN or infinite as a fault.
pub(super) fn magnitude(group: &[f32]) -> Result<f32, Fault> {
    // As bits, magnitudes have the order of integers, with infinity and NaN above all: a fold that vectorizes.
    let largest = f32::from_bits(group.iter().fold(0, |bits, w| bits.max(w.abs().to_bits())));
    if largest.is_finite() {
        return Ok(largest);
    }
    let index = group.iter().position(|w| !w.is_finite());
    Err(Fault::NotFinite(index.expect("some weight is not finite")))
}

/// The weight of largest magnitude with its sign, the first of them; +0 where all are ±0.
pub(super) fn extreme(group: &[f32]) -> Result<f32, Fault> {
    let magnitude = magnitude(group)?;
    let first = group.iter().copied().find(|w| w.abs() == magnitude);
    Ok(first.filter(|&w| w != 0.0).unwrap_or(0.0))
}

/// The least and the greatest weight, each the first of its equals (as −0 and 0 are).
pub(super) fn range(group: &[f32]) -> Result<(f32, f32), Fault> {
    magnitude(group)?;
    let least = group.iter().copied().reduce(|a, b| if b < a { b } else { a });
    let greatest = group.iter().copied().reduce(|a, b| if b > a { b } else { a });
    Ok((least.unwrap_or(0.0), greatest.unwrap_or(0.0)))
}

/// f32 to the f16 that a group stores as its scale: the bits, or the fault of an overflow.
pub(super) fn scale_to_f16(scale: f32) -> Result<u16, Fault> {
    let bits = crate::num::f32_to_f16(scale);
    // NaN too: it can only come of an infinity on the way.
    if bits & 0x7c00 == 0x7c00 { Err(Fault::Overflow(0)) } else { Ok(bits) }
}
