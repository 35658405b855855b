//! The definition of the float schemes' bytes.

use crate::num::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::quant::fault::Fault;

/// Stores each weight by `store`, which says too whether its result is finite.
fn quantize<const BYTES: usize>(
    rows: &[f32],
    out: &mut [[u8; BYTES]],
    store: impl Fn(f32) -> ([u8; BYTES], bool),
) -> Result<(), Fault> {
    for (index, (&w, bytes)) in rows.iter().zip(out).enumerate() {
        if !w.is_finite() {
            return Err(Fault::NotFinite(index));
        }
        let (stored, finite) = store(w);
        if !finite {
            return Err(Fault::Overflow(index));
        }
        *bytes = stored;
    }
    Ok(())
}

pub(in crate::quant) fn quantize_f32(rows: &[f32], out: &mut [[u8; 4]]) -> Result<(), Fault> {
    quantize(rows, out, |w| (w.to_le_bytes(), true))
}

pub(in crate::quant) fn quantize_f16(rows: &[f32], out: &mut [[u8; 2]]) -> Result<(), Fault> {
    quantize(rows, out, |w| {
        let bits = f32_to_f16(w);
        (bits.to_le_bytes(), bits & 0x7c00 != 0x7c00)
    })
}

pub(in crate::quant) fn quantize_bf16(rows: &[f32], out: &mut [[u8; 2]]) -> Result<(), Fault> {
    quantize(rows, out, |w| {
        let bits = f32_to_bf16(w);
        (bits.to_le_bytes(), bits & 0x7f80 != 0x7f80)
    })
}

pub(in crate::quant) fn dequantize_f32(weights: &[[u8; 4]], rows: &mut [f32]) {
    for (w, bytes) in rows.iter_mut().zip(weights) {
        *w = f32::from_le_bytes(*bytes);
    }
}

pub(in crate::quant) fn dequantize_f16(weights: &[[u8; 2]], rows: &mut [f32]) {
    for (w, bytes) in rows.iter_mut().zip(weights) {
        *w = f16_to_f32(u16::from_le_bytes(*bytes));
    }
}

pub(in crate::quant) fn dequantize_bf16(weights: &[[u8; 2]], rows: &mut [f32]) {
    for (w, bytes) in rows.iter_mut().zip(weights) {
        *w = bf16_to_f32(u16::from_le_bytes(*bytes));
    }
}
