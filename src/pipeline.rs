//! Convert: checkpoint ─► plan (every output offset known) ─► chunk ─► scheme ─► bytes.

mod convert;
pub mod fit;
mod gguf;

pub use convert::{ErrorSums, convert, convert_weighed};

use crate::bail;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::formats::gguf::mix;
use crate::formats::imatrix::Importance;
use crate::tensor::DType;
use std::ops::Range;
use std::sync::Arc;

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
    /// The type of the output matrix, or of an embedding that serves as one, whatever the mix says.
    pub output_type: Option<String>,
    /// The type of the token embedding, tied or not.
    pub token_embedding_type: Option<String>,
    /// First match wins; `match` is a regular expression over the tensor's name, the checkpoint's or the output's.
    pub overrides: Vec<Override>,
    /// The stem of the output's file name; by default the checkpoint's name and the scheme.
    pub name: Option<String>,
    /// Quantize weights that were quantized before, which loses twice.
    pub allow_requantize: bool,
    /// Bytes of tensors in a file; what is more goes into further files.
    pub split_bytes: Option<u64>,
    /// How much each column matters.
    #[serde(skip)]
    pub importance: Option<Arc<Importance>>,
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
    /// A value for each column, the same for every row.
    pub importance: Option<Arc<[f32]>>,
}

/// A conversion, wholly decided: sizes and offsets follow from shapes and schemes. Literals and tasks together cover
/// every byte of every file exactly once.
#[derive(Debug, Clone)]
pub struct Plan {
    pub files: Vec<OutputFile>,
    /// By file and offset.
    pub literals: Vec<Literal>,
    /// In the order of their sources, so that plain streams serve them.
    pub tasks: Vec<Task>,
    pub notices: Vec<String>,
}

/// A choice for a person: a format and a scheme in it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    pub format: &'static str,
    pub scheme: &'static str,
    /// The type of most matrices.
    pub dtype: &'static str,
    /// Bits per weight of that type.
    pub bits: f64,
    /// What it is akin to.
    pub group: &'static str,
    pub summary: &'static str,
}

/// Every format with its schemes, largest first.
pub fn schemes() -> Vec<Choice> {
    let choice = |mix: &'static mix::Mix| {
        let bits = crate::quant::by_name(mix.base)?.spec().bits();
        Some(Choice {
            format: "gguf",
            scheme: mix.name,
            dtype: mix.base,
            bits,
            group: mix.group(),
            summary: mix.summary,
        })
    };
    let mut choices: Vec<Choice> = mix::available().filter_map(choice).collect();
    choices.sort_by(|a, b| b.bits.total_cmp(&a.bits));
    choices
}

/// Decides a conversion, given the checkpoint's headers and texts; no weight is read.
///
/// Fails with `BadOption` (an unknown format, scheme or pattern), `Unsupported`, and what the tokenizer's conversion
/// fails with.
pub fn plan(checkpoint: &Checkpoint, options: &Options) -> Result<Plan> {
    match options.format.to_ascii_lowercase().as_str() {
        "gguf" => gguf::plan(checkpoint, options),
        "" => bail!(BadOption, "no format is named; there is gguf"),
        other => bail!(BadOption, "there is no format {other:?}; there is gguf"),
    }
}
