//! Importance matrices: how much each column of a matrix matters, as llama-imatrix measures it (sums of squared activations).
//!
//! Two kinds of file (llama.cpp `tools/imatrix`, `common/imatrix-loader.cpp`): GGUF with `NAME.in_sum2` and `NAME.counts` as
//! F32 tensors, one row per expert; and the older one without a magic number:
//!
//! ```text
//! i32 entries │ entry: i32 length, name │ i32 calls │ i32 values │ f32 × values │ … │ i32 chunks │ i32 length, data set
//! ```
//!
//! The last two fields may be missing. Both are read whole: they have some megabytes.

mod legacy;

use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::{self, find};
use crate::formats::{HeaderReader, Need};
use std::collections::BTreeMap;

/// Bytes of a file. The matrix of a 14B model has 6 MB, that of sixteen experts 120 MB.
pub const MAX_FILE: usize = 1 << 30;
/// Matrices in a file.
const MAX_ENTRIES: usize = 1 << 16;

/// An importance matrix for a whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// The file's name, which goes into what is made with it.
    pub file: String,
    /// What text it was measured on.
    pub datasets: Vec<String>,
    /// Over how many chunks of it.
    pub chunks: u32,
    /// By the tensor's name in GGUF: a value for each column, expert after expert. Finite, none negative.
    entries: BTreeMap<String, Vec<f32>>,
}

impl Importance {
    /// Reads either kind of file.
    ///
    /// Fails with `BadHeader` and `Truncated` where the file breaks its format, and with `NotFinite`.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self> {
        let read = if bytes.len() > MAX_FILE {
            Err(Error::new(ErrorKind::BadHeader, format!("an importance matrix has at most {MAX_FILE} bytes")))
        } else if bytes.starts_with(b"GGUF") {
            from_gguf(bytes)
        } else {
            legacy::read(bytes)
        };
        let mut importance = read.map_err(|e| e.in_file(file))?;
        file.clone_into(&mut importance.file);
        importance.check().map_err(|e| e.in_file(file))?;
        Ok(importance)
    }

    /// The values for a tensor: a row for each of its experts.
    pub fn get(&self, tensor: &str) -> Option<&[f32]> {
        self.entries.get(tensor).map(Vec::as_slice)
    }

    /// Every tensor's name and how many values it has.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, usize)> {
        self.entries.iter().map(|(name, values)| (name.as_str(), values.len()))
    }

    fn check(&self) -> Result<()> {
        if self.entries.is_empty() {
            bail!(BadHeader, "the importance matrix has no entries");
        }
        for (name, values) in &self.entries {
            if let Some(value) = values.iter().find(|value| !value.is_finite() || **value < 0.0) {
                let what = format!("the importance matrix has {value} here; values are finite and not negative");
                return Err(Error::new(ErrorKind::NotFinite, what).in_tensor(name.clone()));
            }
        }
        Ok(())
    }
}

/// A GGUF file: sums and counts become means, expert by expert; an expert that no token reached gets ones.
fn from_gguf(bytes: &[u8]) -> Result<Importance> {
    let mut reader = Box::new(gguf::Reader::new(Some(bytes.len() as u64)));
    if let Need::More(more) = reader.push(bytes)? {
        bail!(Truncated, "the file ends within its header, which wants {more} bytes more at least");
    }
    let header = reader.finish()?;
    let number = |key: &str| find(&header.metadata, key).and_then(gguf::Value::as_u64);
    let datasets = find(&header.metadata, "imatrix.datasets");
    let (Some(datasets), Some(chunks), Some(_)) =
        (datasets, number("imatrix.chunk_count"), number("imatrix.chunk_size"))
    else {
        bail!(
            BadHeader,
            "this GGUF file is no importance matrix: imatrix.datasets, imatrix.chunk_count or imatrix.chunk_size is missing"
        );
    };
    let datasets = datasets.as_strings().unwrap_or_default().to_vec();

    let mut pairs: BTreeMap<&str, [Option<Vec<f32>>; 2]> = BTreeMap::new();
    for tensor in &header.tensors {
        let name = tensor.name.as_str();
        let fault = |kind: ErrorKind, what: String| Error::new(kind, what).in_tensor(name);
        let (stem, place) = match (name.strip_suffix(".in_sum2"), name.strip_suffix(".counts")) {
            (Some(stem), _) => (stem, 0),
            (_, Some(stem)) => (stem, 1),
            _ => continue,
        };
        if tensor.dtype.name != "F32" {
            return Err(fault(ErrorKind::BadHeader, format!("sums and counts are F32, not {}", tensor.dtype.name)));
        }
        // The reader has seen to it that the spans end within the file.
        let data = &bytes[tensor.span.start as usize..tensor.span.end as usize];
        let values = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        pairs.entry(stem).or_default()[place] = Some(values);
    }
    let mut entries = BTreeMap::new();
    for (name, pair) in pairs {
        let fault = |what: String| Error::new(ErrorKind::BadHeader, what).in_tensor(name);
        let [Some(sums), Some(counts)] = pair else {
            return Err(fault("the importance matrix has sums without counts here, or counts without sums".into()));
        };
        if !sums.len().is_multiple_of(counts.len()) {
            return Err(fault(format!("{} sums do not divide into {} experts", sums.len(), counts.len())));
        }
        let cols = sums.len() / counts.len();
        let mean = |(sums, count): (&[f32], &f32)| {
            // Counts are whole numbers in a float; lround's rounding, and back.
            let count = count.round();
            let mean = move |sum: &f32| if count > 0.0 { sum / count } else { 1.0 };
            sums.iter().map(mean).collect::<Vec<_>>()
        };
        entries.insert(name.to_owned(), sums.chunks_exact(cols).zip(&counts).flat_map(mean).collect());
    }
    let chunks = u32::try_from(chunks).unwrap_or(u32::MAX);
    Ok(Importance { file: String::new(), datasets, chunks, entries })
}
