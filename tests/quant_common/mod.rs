//! What the tests of the schemes share.

pub mod generate;

use phiquant::error::Result;
use phiquant::quant::{Kernels, Scheme};
use sha2::{Digest, Sha256};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first 16 digits of SHA-256.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}

pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The bytes of `rows`, laid at an odd address, as they may stand in a file.
pub fn quantize(scheme: &dyn Scheme, kernels: Kernels, rows: &[f32], cols: usize) -> Result<Vec<u8>> {
    quantize_with(scheme, kernels, rows, cols, None)
}

pub fn quantize_with(
    scheme: &dyn Scheme,
    kernels: Kernels,
    rows: &[f32],
    cols: usize,
    importance: Option<&[f32]>,
) -> Result<Vec<u8>> {
    let dtype = scheme.spec().dtype;
    let mut bytes = vec![0xa5; rows.len() / dtype.group * dtype.group_bytes + 1];
    let odd = bytes.as_ptr().addr().is_multiple_of(2);
    let start = usize::from(odd);
    let end = bytes.len() - usize::from(!odd);
    scheme.quantize(kernels, rows, cols, importance, &mut [&mut bytes[start..end]])?;
    bytes.truncate(end);
    bytes.drain(..start);
    Ok(bytes)
}

pub fn dequantize(scheme: &dyn Scheme, kernels: Kernels, bytes: &[u8], cols: usize) -> Vec<f32> {
    let dtype = scheme.spec().dtype;
    let mut rows = vec![f32::NAN; bytes.len() / dtype.group_bytes * dtype.group];
    scheme.dequantize(kernels, &[bytes], cols, &mut rows);
    rows
}
