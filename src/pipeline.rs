//! Convert: checkpoint ─► plan (every output offset known) ─► chunk ─► scheme ─► bytes.

use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::quant::Kernels;
use crate::tensor::DType;
use std::ops::Range;

/// What a user asks for.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Options {
    /// `gguf`.
    pub format: String,
    /// A mix as llama-quantize names it (`Q4_0`, `Q8_0`, `F16` …).
    pub scheme: String,
    /// The scheme for every matrix, without the mix's exceptions.
    pub pure: bool,
    /// First match wins; `match` is a regular expression over the tensor's name, the checkpoint's or the output's.
    pub overrides: Vec<Override>,
    /// The stem of the output's file name; by default the checkpoint's name.
    pub name: Option<String>,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    #[serde(rename = "match")]
    pub pattern: String,
    pub scheme: String,
}

/// A file that the conversion makes.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputFile {
    pub name: String,
    pub bytes: u64,
}

/// Bytes that are known from the start: headers, padding, computed tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Literal {
    pub file: usize,
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// One tensor's way from the source to the output: `rows` rows of `cols` elements, in order, each row on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The tensor's name in the checkpoint, and in the output.
    pub tensor: String,
    pub output: String,
    /// The weight file (index into [`Checkpoint::files`]) and the bytes in it.
    pub source_file: usize,
    pub source: Range<u64>,
    pub from: DType,
    pub to: DType,
    pub rows: u64,
    pub cols: u64,
    /// The output file (index into [`Plan::files`]) and the first byte in it.
    pub file: usize,
    pub offset: u64,
}

/// A conversion, wholly decided: sizes and offsets follow from shapes and schemes. Literals and tasks together cover
/// every byte of every file exactly once.
#[derive(Debug, Clone)]
pub struct Plan {
    pub files: Vec<OutputFile>,
    pub literals: Vec<Literal>,
    /// In the order of their sources, so that plain streams serve them.
    pub tasks: Vec<Task>,
    pub notices: Vec<String>,
}

pub fn plan(_checkpoint: &Checkpoint, _options: &Options) -> Result<Plan> {
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}

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

/// Converts whole rows: `source` holds n·cols elements of `from`; `out` is exactly n rows of `to`.
/// Fails with `NotFinite` on NaN or infinity.
pub fn convert(
    _kernels: Kernels,
    _from: DType,
    _to: DType,
    _cols: usize,
    _source: &[u8],
    _out: &mut [u8],
) -> Result<ErrorSums> {
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}
