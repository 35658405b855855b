//! Whether the GPU computed rightly: known rows once, a sample of each piece, against the CPU.

use super::{Law, WORKGROUP, bytes, decode, scheme, target};
use crate::error::{Error, ErrorKind, Result};
use crate::num;
use crate::quant::{self, Kernels};
use crate::tensor::DType;

/// Weights that the CPU recomputes at a time: whole blocks of the schemes here.
const SAMPLE: usize = 256;
/// Samples of a piece.
const SAMPLES: usize = 16;
/// How much more error than the CPU's a sample of a searched scheme may have: bytes that are wrong have many times more.
const SLACK: f64 = 1.25;

/// Recomputes a few blocks: the first, the last, and others that differ from piece to piece.
pub(super) fn check_sample(from: DType, to: DType, start: usize, source: &[u8], out: &[u8]) -> Result<()> {
    let weights = source.len() / from.group_bytes;
    let scheme = scheme(to.name)?;
    let units = weights.div_ceil(SAMPLE);
    let mut state = (start as u64) ^ (weights as u64) << 32;
    let random = std::iter::repeat_with(|| {
        // Knuth's MMIX generator; the high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % units as u64) as usize
    });
    for unit in [0, units - 1].into_iter().chain(random.take(SAMPLES)) {
        let first = unit * SAMPLE;
        let last = (first + SAMPLE).min(weights);
        let rows = decode(&source[first * from.group_bytes..last * from.group_bytes], from);
        let mut expected = [0; SAMPLE * 4];
        let expected = &mut expected[..bytes(to, rows.len())];
        scheme.quantize(Kernels::best(), &rows, rows.len(), None, &mut [expected])?;
        let at = bytes(to, first);
        if !agree(to, &rows, expected, &out[at..at + expected.len()]) {
            return Err(mismatch(from, to, start + first));
        }
    }
    Ok(())
}

/// Whether the GPU's bytes may stand for the CPU's, by the law of the scheme.
pub(super) fn agree(to: DType, rows: &[f32], expected: &[u8], found: &[u8]) -> bool {
    if expected == found {
        return true;
    }
    let Ok(scheme) = scheme(to.name) else { return false };
    let searched = target(to).is_some_and(|(_, law)| law == Law::Searched);
    searched && errors_of(scheme, rows, found).squared <= SLACK * errors_of(scheme, rows, expected).squared
}

/// How far quantized rows are from the original ones.
pub(super) fn errors_of(scheme: &dyn quant::Scheme, rows: &[f32], bytes: &[u8]) -> quant::Errors {
    let mut restored = vec![0.0; rows.len()];
    scheme.dequantize(Kernels::best(), &[bytes], rows.len(), &mut restored);
    quant::error_sums(Kernels::best(), rows, &restored)
}

pub(super) fn mismatch(from: DType, to: DType, weight: usize) -> Error {
    let message = format!(
        "the GPU's {} of {} weights differs from the CPU's at weight {weight}: its driver computes wrongly; take the \
         simd backend",
        to.name, from.name
    );
    Error::new(ErrorKind::DeviceMismatch, message)
}

/// Rows for the self-check: sizes from 2^-24 to 2^14, ties, both zeros, an odd number of blocks of 256.
pub(super) fn probe() -> Vec<f32> {
    let mut weights = Vec::new();
    for block in 0..40i32 {
        let scale = f64::from(block % 33 - 24).exp2() as f32;
        for i in 0..32i32 {
            let wave = ((i * 37 + block * 11) % 64 - 32) as f32 / 32.0;
            weights.push(match block % 4 {
                0 => (wave * 127.0).round() / 2.0 * scale, // ties in Q8_0
                1 => wave * scale,
                2 => (wave * 16.0).round() / 2.0 * scale, // ties in Q4_0
                _ => wave * wave * wave * scale / 3.0,
            });
        }
    }
    weights[40] = -0.0;
    weights
}

/// A workgroup's rows for the self-check of a search: weights as models have them, some zero, some constant, some outliers.
pub(super) fn probe_search() -> Vec<f32> {
    let weight = |i: usize| {
        let uniform = |n: u64| (num::mix(2 * i as u64 + n) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        match i / 32 {
            5 => 0.0,
            9 => -0.03125,
            _ if i.is_multiple_of(97) => uniform(0),
            _ => uniform(0) * uniform(1) * 0.0625,
        }
    };
    (0..WORKGROUP).map(weight).collect()
}
