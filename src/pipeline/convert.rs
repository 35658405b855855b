//! Rows of one type become rows of another, measured on the way.

use crate::bail;
use crate::error::Result;
use crate::quant::{self, Kernels, Scheme};
use crate::tensor::DType;

/// Weights that are decoded, quantized and measured at a time: two buffers of f32 that stay in a core's L2 cache.
const SCRATCH: usize = 1 << 14;

/// How far the converted weights are from the source: sums over `weights` weights, so that chunks add up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ErrorSums {
    pub weights: u64,
    /// Σ (original − converted)².
    pub squared: f64,
    /// Σ original².
    pub original_squared: f64,
    /// max |original − converted|.
    pub max: f32,
}

impl ErrorSums {
    /// Takes in the sums of another chunk.
    pub fn add(&mut self, other: &ErrorSums) {
        self.weights += other.weights;
        self.squared += other.squared;
        self.original_squared += other.original_squared;
        self.max = self.max.max(other.max);
    }

    /// sqrt(mean (original − converted)²).
    pub fn rmse(&self) -> f64 {
        (self.squared / self.weights.max(1) as f64).sqrt()
    }

    fn measure(&mut self, original: &[f32], converted: &[f32]) {
        self.weights += original.len() as u64;
        // Lanes of f32 over short runs, so that the compiler can use vectors; f64 where many numbers add up.
        const LANES: usize = 8;
        const RUN: usize = 32 * LANES;
        for (a, b) in original.chunks(RUN).zip(converted.chunks(RUN)) {
            let (mut squared, mut whole, mut max) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
            let (a8, b8) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
            for (a, b) in a8.remainder().iter().zip(b8.remainder()) {
                let d = a - b;
                squared[0] += d * d;
                whole[0] += a * a;
                max[0] = if d.abs() > max[0] { d.abs() } else { max[0] };
            }
            for (a, b) in a8.zip(b8) {
                for lane in 0..LANES {
                    let d = a[lane] - b[lane];
                    squared[lane] += d * d;
                    whole[lane] += a[lane] * a[lane];
                    // Not f32::max: its NaN rule costs a comparison, and there is no NaN here.
                    max[lane] = if d.abs() > max[lane] { d.abs() } else { max[lane] };
                }
            }
            self.squared += squared.iter().map(|&x| f64::from(x)).sum::<f64>();
            self.original_squared += whole.iter().map(|&x| f64::from(x)).sum::<f64>();
            self.max = max.iter().fold(self.max, |most, &x| most.max(x));
        }
    }
}

fn scheme(dtype: DType) -> Result<&'static dyn Scheme> {
    match quant::by_name(dtype.name) {
        Some(scheme) if scheme.spec().planes.len() == 1 => Ok(scheme),
        _ => bail!(Unsupported, "phiquant has no kernels for {}", dtype.name),
    }
}

/// Converts whole rows: `source` holds n·cols elements of `from`; `out` is exactly n rows of `to`.
/// Fails with `NotFinite` on NaN or infinity.
pub fn convert(
    kernels: Kernels,
    from: DType,
    to: DType,
    cols: usize,
    source: &[u8],
    out: &mut [u8],
) -> Result<ErrorSums> {
    let (decoder, encoder) = (scheme(from)?, scheme(to)?);
    let row = |dtype: &DType| dtype.row_bytes(cols as u64).and_then(|bytes| usize::try_from(bytes).ok());
    let (Some(source_row), Some(out_row)) = (row(&from), row(&to)) else {
        bail!(Internal, "rows of {cols} do not divide into {} or {} blocks", from.name, to.name);
    };
    if source_row == 0 || !source.len().is_multiple_of(source_row) || out.len() != source.len() / source_row * out_row {
        bail!(Internal, "{} bytes of {} do not become {} of {} rows", source.len(), from.name, out.len(), to.name);
    }
    let mut sums = ErrorSums::default();
    // Blocks are copied, not unpacked and packed again: that need not give the same bytes.
    let copied = from == to && from.group > 1;
    let rows = (SCRATCH / cols).max(1);
    let mut original = vec![0f32; rows.min(source.len() / source_row) * cols];
    let mut converted = vec![0f32; original.len()];
    for (source, out) in source.chunks(rows * source_row).zip(out.chunks_mut(rows * out_row)) {
        let weights = source.len() / source_row * cols;
        let (original, converted) = (&mut original[..weights], &mut converted[..weights]);
        decoder.dequantize(kernels, &[source], cols, original);
        if copied {
            if !original.iter().all(|x| x.is_finite()) {
                bail!(NotFinite, "a block's scale makes weights that are NaN or infinite");
            }
            out.copy_from_slice(source);
            sums.measure(original, original);
            continue;
        }
        encoder.quantize(kernels, original, cols, None, &mut [out])?;
        encoder.dequantize(kernels, &[out], cols, converted);
        sums.measure(original, converted);
    }
    Ok(sums)
}
