//! Rows of one type become rows of another, measured on the way.

use crate::bail;
use crate::error::Result;
use crate::quant::{self, Errors, Kernels, Scheme};
use crate::tensor::DType;

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
    /// sqrt(mean (original − converted)²).
    pub fn rmse(&self) -> f64 {
        (self.squared / self.weights.max(1) as f64).sqrt()
    }
}

impl std::ops::AddAssign for ErrorSums {
    fn add_assign(&mut self, other: ErrorSums) {
        self.weights += other.weights;
        self.squared += other.squared;
        self.original_squared += other.original_squared;
        self.max = self.max.max(other.max);
    }
}

fn scheme(dtype: DType) -> Result<&'static dyn Scheme> {
    match quant::by_name(dtype.name) {
        Some(scheme) if scheme.spec().planes.len() == 1 => Ok(scheme),
        _ => bail!(Unsupported, "phiquant has no kernels for {}", dtype.name),
    }
}

/// Converts whole rows: `source` holds n·cols elements of `from`; `out` is exactly n rows of `to`. Rows that are of the
/// type already are copied.
///
/// Fails with `NotFinite` on NaN or infinity, and where a type cannot hold a weight (F16 past 65504).
pub fn convert(
    kernels: Kernels,
    from: DType,
    to: DType,
    cols: usize,
    source: &[u8],
    out: &mut [u8],
) -> Result<ErrorSums> {
    convert_weighed(kernels, from, to, cols, None, source, out)
}

/// As [`convert`], with a value for each of the `cols` columns from an importance matrix.
pub fn convert_weighed(
    kernels: Kernels,
    from: DType,
    to: DType,
    cols: usize,
    importance: Option<&[f32]>,
    source: &[u8],
    out: &mut [u8],
) -> Result<ErrorSums> {
    let (decoder, encoder) = (scheme(from)?, scheme(to)?);
    let row = |dtype: &DType| dtype.row_bytes(cols as u64).and_then(|bytes| usize::try_from(bytes).ok());
    let (Some(source_row @ 1..), Some(out_row)) = (row(&from), row(&to)) else {
        bail!(Internal, "rows of {cols} do not divide into {} or {} blocks", from.name, to.name);
    };
    let rows = source.len() / source_row;
    if source.len() != rows * source_row || out.len() != rows * out_row {
        bail!(Internal, "{} bytes of {} do not become {} of {} rows", source.len(), from.name, out.len(), to.name);
    }
    if importance.is_some_and(|values| values.len() != cols) {
        bail!(Internal, "the importance matrix has another count of columns than {cols}");
    }
    let Errors { squared, original_squared, max } =
        quant::convert_weighed(kernels, decoder, encoder, cols, importance, source, out)?;
    Ok(ErrorSums { weights: (rows * cols) as u64, squared, original_squared, max })
}
