//! safetensors: reading.
//!
//! ```text
//! u64 little-endian: bytes of the header │ JSON { name: { dtype, shape, data_offsets } … } │ the tensors' bytes
//! ```
//!
//! Read by our own code, since the safetensors crate counts bytes in usize, which has 32 bits in wasm32, and shards pass
//! 4 GiB. What it refuses is refused here too: a header over 100 MB, overlaps, holes, sizes that differ from the shape's.

mod json;

use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::Value;
use crate::formats::{Header, HeaderReader, Need};
use crate::tensor::{DType, TensorInfo, elements};

/// Bytes of the JSON text, as in the safetensors crate.
pub const MAX_HEADER: u64 = 100_000_000;

/// The element types that safetensors 0.8 has: name, elements per group, bytes per group. Only the first three are
/// weights that phiquant reads; the others' sizes let the reader check a header.
const DTYPES: &[DType] = &[
    DType::F32,
    DType::F16,
    DType::BF16,
    DType { name: "BOOL", group: 1, group_bytes: 1 },
    DType { name: "U8", group: 1, group_bytes: 1 },
    DType { name: "I8", group: 1, group_bytes: 1 },
    DType { name: "I16", group: 1, group_bytes: 2 },
    DType { name: "U16", group: 1, group_bytes: 2 },
    DType { name: "I32", group: 1, group_bytes: 4 },
    DType { name: "U32", group: 1, group_bytes: 4 },
    DType { name: "I64", group: 1, group_bytes: 8 },
    DType { name: "U64", group: 1, group_bytes: 8 },
    DType { name: "F64", group: 1, group_bytes: 8 },
    DType { name: "C64", group: 1, group_bytes: 8 },
    DType { name: "F8_E4M3", group: 1, group_bytes: 1 },
    DType { name: "F8_E4M3FNUZ", group: 1, group_bytes: 1 },
    DType { name: "F8_E5M2", group: 1, group_bytes: 1 },
    DType { name: "F8_E5M2FNUZ", group: 1, group_bytes: 1 },
    DType { name: "F8_E8M0", group: 1, group_bytes: 1 },
    DType { name: "F6_E2M3", group: 4, group_bytes: 3 },
    DType { name: "F6_E3M2", group: 4, group_bytes: 3 },
    DType { name: "F4", group: 2, group_bytes: 1 },
];

/// Reads the header of a safetensors file.
pub struct Reader {
    size: Option<u64>,
    /// The file's beginning, as far as it has arrived; never more than the header.
    bytes: Vec<u8>,
    header: Option<Header>,
}

impl Reader {
    /// `size`: the file's length, where it is known; a header that promises another is then refused at once.
    pub fn new(size: Option<u64>) -> Self {
        Self { size, bytes: Vec::new(), header: None }
    }

    /// Bytes of the length and the JSON text, once the length is there.
    fn wanted(&self) -> Result<u64> {
        let Some(prefix) = self.bytes.first_chunk::<8>() else { return Ok(8) };
        let length = u64::from_le_bytes(*prefix);
        if length > MAX_HEADER {
            bail!(
                BadHeader,
                "the header claims {length} bytes; {MAX_HEADER} are the most, so this is no safetensors file"
            );
        }
        if length < 2 {
            bail!(BadHeader, "the header claims {length} bytes; the least is {{}}");
        }
        Ok(8 + length)
    }
}

impl HeaderReader for Reader {
    fn push(&mut self, mut bytes: &[u8]) -> Result<Need> {
        loop {
            if self.header.is_some() {
                return Ok(Need::Nothing);
            }
            let wanted = self.wanted()?;
            if let Some(size) = self.size.filter(|&size| size < wanted) {
                bail!(Truncated, "the file has {size} bytes and ends within its header, which has {wanted}");
            }
            // Both are within MAX_HEADER + 8.
            let missing = wanted as usize - self.bytes.len();
            if missing == 0 {
                self.header = Some(parse(&self.bytes[8..], wanted, self.size)?);
                self.bytes = Vec::new();
                continue;
            }
            if bytes.is_empty() {
                return Ok(Need::More(missing as u64));
            }
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.bytes.extend_from_slice(now);
            bytes = later;
        }
    }

    fn finish(self: Box<Self>) -> Result<Header> {
        match self.header {
            Some(header) => Ok(header),
            None => bail!(Truncated, "the file ends within its header"),
        }
    }
}

/// Reads the JSON text; `start` is where the tensors' bytes begin.
fn parse(text: &[u8], start: u64, size: Option<u64>) -> Result<Header> {
    let raw = json::parse(text)?;
    let mut tensors = Vec::with_capacity(raw.tensors.len());
    for (name, entry) in raw.tensors {
        let info = check(&name, &entry, start).map_err(|e| e.in_tensor(name.clone()))?;
        tensors.push(info);
    }
    tensors.sort_by_key(|tensor| (tensor.span.start, tensor.span.end));

    let mut end = start;
    for tensor in &tensors {
        if tensor.span.start != end {
            let what = if tensor.span.start < end { "overlaps the one before" } else { "leaves a hole before it" };
            let message = format!("the tensor begins at byte {} of the data and {what}", tensor.span.start - start);
            return Err(Error::new(ErrorKind::BadHeader, message).in_tensor(tensor.name.clone()));
        }
        end = tensor.span.end;
    }
    match size {
        Some(size) if size < end => {
            bail!(
                Truncated,
                "the file has {size} bytes, and its header promises {end}: the download or copy is incomplete"
            )
        }
        Some(size) if size > end => {
            bail!(BadHeader, "the file has {size} bytes, {} more than its header accounts for", size - end)
        }
        _ => {}
    }
    let metadata = raw.metadata.into_iter().map(|(key, text)| (key, Value::String(text))).collect();
    Ok(Header { tensors, metadata, data_start: start })
}

/// One tensor: its dtype is known, and its bytes are as many as its shape says.
fn check(name: &str, entry: &json::Entry, start: u64) -> Result<TensorInfo> {
    let Some(&dtype) = DTYPES.iter().find(|dtype| dtype.name == entry.dtype) else {
        bail!(BadHeader, "{:?} is no safetensors dtype", entry.dtype);
    };
    let (from, to) = entry.data_offsets;
    if from > to {
        bail!(BadHeader, "the tensor ends (at {to}) before it begins (at {from})");
    }
    // Groups run over the whole tensor, not over a row: only sub-byte types, which nothing here reads, have more than 1.
    let expected = dtype.row_bytes(elements(&entry.shape)?);
    if expected != Some(to - from) {
        bail!(
            BadHeader,
            "the shape {:?} of {} takes {} bytes, and the offsets span {}",
            entry.shape,
            dtype.name,
            expected.map_or("too many".into(), |n| n.to_string()),
            to - from
        );
    }
    let (Some(from), Some(to)) = (start.checked_add(from), start.checked_add(to)) else {
        bail!(BadHeader, "the tensor ends beyond what 64 bits can count");
    };
    Ok(TensorInfo { name: name.to_owned(), shape: entry.shape.clone(), dtype, span: from..to })
}
