//! The importance matrix's part in a plan: does it fit the model, and which values go with which rows.

use super::choice::Candidate;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::mix::{Tensor, is_quantizable};
use crate::formats::gguf::{Metadata, Value};
use crate::formats::imatrix::Importance;
use crate::tensor::DType;
use std::ops::Range;
use std::sync::Arc;

/// llama.cpp's room for a text among overridden keys, less the zero.
const KEY_TEXT: usize = 127;

/// Schemes that take no notice of an importance matrix, as in ggml.
const UNWEIGHED: &[&str] = &["F32", "F16", "BF16", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"];

/// Whether the matrix is of this model: it knows no other tensors, and has a value for every column and expert.
///
/// llama-quantize lets names pass that the model does not have, and so quantizes without a word as if there were no matrix.
/// The embedding's values are left out where they do not fit, as there.
pub(super) fn check(importance: &Importance, candidates: &[Candidate], notices: &mut Vec<String>) -> Result<()> {
    let wrong = |tensor: &str, what: String| {
        let what = format!("{what}: the importance matrix is of another model");
        Error::new(ErrorKind::WrongImportance, what).in_tensor(tensor).in_file(importance.file.clone())
    };
    for (name, length) in importance.entries() {
        let Some(found) = candidates.iter().find(|candidate| candidate.name == name) else {
            // A tied embedding, seen as the output.
            if name == "output.weight" {
                continue;
            }
            return Err(wrong(name, "the model has no such tensor".into()));
        };
        let expected = values(&found.shape);
        if length as u64 != expected && name != "token_embd.weight" {
            return Err(wrong(name, format!("{length} values do not fit {expected} columns")));
        }
    }
    let without = |candidate: &&Candidate| {
        is_quantizable(&Tensor { name: &candidate.name, shape: &candidate.shape })
            && candidate.name.starts_with("blk.")
            && importance.get(&candidate.name).is_none()
    };
    let missing: Vec<&str> = candidates.iter().filter(without).map(|candidate| candidate.name.as_str()).collect();
    if let Some(first) = missing.first() {
        let others = if missing.len() > 1 { format!(" and {} others", missing.len() - 1) } else { String::new() };
        notices.push(format!("{first}{others} are quantized without importance: the matrix has nothing of them"));
    }
    Ok(())
}

/// How many values a tensor takes: its columns, for each expert.
fn values(shape: &[u64]) -> u64 {
    let cols = shape.last().copied().unwrap_or(1);
    shape.iter().rev().skip(2).fold(cols, |n, &experts| n.saturating_mul(experts))
}

/// Rows, and what they share.
type Run = (Range<u64>, Option<Arc<[f32]>>);

/// The rows `rows` of a tensor in runs that share their values.
pub(super) fn runs(
    importance: Option<&Importance>,
    name: &str,
    shape: &[u64],
    to: DType,
    rows: Range<u64>,
) -> Vec<Run> {
    let entry = importance.and_then(|importance| importance.get(name));
    let entry = entry.filter(|entry| entry.len() as u64 == values(shape) && !UNWEIGHED.contains(&to.name));
    let (Some(entry), [.., each, cols]) = (entry, shape) else { return vec![(rows, None)] };
    let mut runs = Vec::new();
    let mut row = rows.start;
    while row < rows.end {
        let expert = row / each;
        let end = rows.end.min((expert + 1) * each);
        let first = (expert * cols) as usize;
        runs.push((row..end, Some(Arc::from(&entry[first..first + *cols as usize]))));
        row = end;
    }
    runs
}

/// The keys that llama-quantize sets.
pub(super) fn keys(importance: &Importance) -> Metadata {
    let mut keys = vec![("quantize.imatrix.file".into(), text(&importance.file))];
    if let Some(dataset) = importance.datasets.first() {
        keys.push(("quantize.imatrix.dataset".into(), text(dataset)));
    }
    keys.push(("quantize.imatrix.entries_count".into(), Value::U32(importance.entries().len() as u32)));
    if importance.chunks > 0 {
        keys.push(("quantize.imatrix.chunks_count".into(), Value::U32(importance.chunks)));
    }
    keys
}

fn text(text: &str) -> Value {
    let end = (0..=KEY_TEXT.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    Value::String(text[..end].to_owned())
}
