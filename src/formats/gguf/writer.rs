//! Writes a GGUF header: a pure function of keys, values, names, shapes and types, so that every offset is known before
//! the first weight is read.

use super::types;
use super::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::num::align_up;
use crate::tensor::DType;

/// Where tensors begin: what llama.cpp takes where general.alignment is not set.
pub const ALIGNMENT: u64 = 32;

/// A tensor to be written; the shape is row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: String,
    pub shape: Vec<u64>,
    pub dtype: DType,
}

/// A file's beginning, and where everything else goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Everything before the first tensor, padding included.
    pub head: Vec<u8>,
    /// Each tensor's first byte in the file. Up to 31 zeros follow a tensor.
    pub offsets: Vec<u64>,
    /// Bytes of each tensor.
    pub sizes: Vec<u64>,
    /// Bytes of the file.
    pub size: u64,
}

/// Bytes of a tensor, without the padding after it. Fails with `BadShape`.
pub fn size(entry: &Entry) -> Result<u64> {
    let fault = |what: &str| Error::new(ErrorKind::BadShape, what).in_tensor(entry.name.clone());
    let (cols, outer) = entry.shape.split_last().ok_or_else(|| fault("a GGUF tensor has at least one dimension"))?;
    let rows = outer.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
    let bytes = entry.dtype.row_bytes(*cols).zip(rows).and_then(|(row, rows)| row.checked_mul(rows));
    bytes.ok_or_else(|| fault("the rows do not divide into the type's blocks, or are too many"))
}

/// Lays out a GGUF file of version 3, tensors in the order given, each aligned to 32 bytes, the last one padded too.
pub fn layout<'a, M>(metadata: M, tensors: &[Entry]) -> Result<Layout>
where
    M: IntoIterator<Item = &'a (String, Value), IntoIter: ExactSizeIterator>,
{
    let metadata = metadata.into_iter();
    let mut head = Vec::new();
    head.extend_from_slice(b"GGUF");
    head.extend_from_slice(&3u32.to_le_bytes());
    head.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    head.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut head, key);
        if value.is_array() {
            head.extend_from_slice(&9u32.to_le_bytes());
        }
        head.extend_from_slice(&value.type_number().to_le_bytes());
        write_value(&mut head, value);
    }

    let (mut offsets, mut sizes) = (Vec::new(), Vec::new());
    let mut offset = 0u64;
    for entry in tensors {
        let fault = |what: &str| Error::new(ErrorKind::BadShape, what).in_tensor(entry.name.clone());
        let number = types::number(entry.dtype).ok_or_else(|| fault("GGUF has no such type"))?;
        let bytes = size(entry)?;

        text(&mut head, &entry.name);
        head.extend_from_slice(&(entry.shape.len() as u32).to_le_bytes());
        // GGUF counts dimensions from the contiguous one on.
        for dim in entry.shape.iter().rev() {
            head.extend_from_slice(&dim.to_le_bytes());
        }
        head.extend_from_slice(&number.to_le_bytes());
        head.extend_from_slice(&offset.to_le_bytes());
        offsets.push(offset);
        sizes.push(bytes);
        offset = offset
            .checked_add(bytes)
            .filter(|&end| end <= u64::MAX / 4)
            .map(|end| align_up(end, ALIGNMENT))
            .ok_or_else(|| fault("the file would be larger than 64 bits can count"))?;
    }
    head.resize(align_up(head.len() as u64, ALIGNMENT) as usize, 0);
    let start = head.len() as u64;
    for place in &mut offsets {
        *place += start;
    }
    Ok(Layout { head, offsets, sizes, size: start + offset })
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    let count = |out: &mut Vec<u8>, n: usize| out.extend_from_slice(&(n as u64).to_le_bytes());
    match value {
        Value::U8(n) => out.push(*n),
        Value::I8(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::U16(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::I16(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::U32(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::I32(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::F32(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::Bool(flag) => out.push(u8::from(*flag)),
        Value::String(s) => text(out, s),
        Value::U64(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::I64(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::F64(n) => out.extend_from_slice(&n.to_le_bytes()),
        Value::Strings(list) => {
            count(out, list.len());
            list.iter().for_each(|s| text(out, s));
        }
        Value::F32s(list) => {
            count(out, list.len());
            list.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        }
        Value::I32s(list) => {
            count(out, list.len());
            list.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        }
        Value::Array(list) => {
            count(out, list.len());
            list.iter().for_each(|element| write_value(out, element));
        }
    }
}
