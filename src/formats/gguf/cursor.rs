//! Takes items from the bytes of a GGUF header that have arrived.

use super::reader::{MAX_ARRAY, MAX_COUNT, MAX_DIMS, MAX_NAME, MAX_ODD_ELEMENTS, MAX_TEXT};
use super::value::Value;
use crate::bail;
use crate::error::{Error, ErrorKind, Result};

/// A value, or the beginning of an array: element type, count, an empty list.
pub(super) enum Item {
    Scalar(Value),
    Array(u32, u64, Value),
}

/// A tensor's line as it stands there, unchecked.
pub(super) struct RawTensor {
    pub name: String,
    /// The contiguous dimension first.
    pub dims: Vec<u64>,
    /// `enum ggml_type`.
    pub number: u32,
    /// Counted from where the tensors' bytes begin.
    pub offset: u64,
}

/// Reads from the bytes that are there. `None` means that some are missing; `missing` then says how many at least.
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    /// The first byte that is not taken yet.
    pub at: usize,
    pub missing: u64,
}

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        match self.bytes.get(self.at..self.at + N) {
            Some(found) => {
                self.at += N;
                Some(found.try_into().expect("the slice has N bytes"))
            }
            None => {
                self.missing = (self.at + N - self.bytes.len()) as u64;
                None
            }
        }
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length and as many bytes of UTF-8; leaves the cursor where it was if they are not all there.
    pub(super) fn text(&mut self, most: u64, what: &str) -> Result<Option<String>> {
        let start = self.at;
        let Some(length) = self.u64() else { return Ok(None) };
        if length > most {
            bail!(BadHeader, "the length of {what} is {length}; {most} bytes are the most");
        }
        let length = length as usize;
        let there = self.bytes.len() - self.at;
        if there < length {
            self.missing = (length - there) as u64;
            self.at = start;
            return Ok(None);
        }
        let bytes = &self.bytes[self.at..self.at + length];
        self.at += length;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => bail!(BadHeader, "{what} is not UTF-8"),
        }
    }

    /// Magic, version and the counts of tensors and keys.
    pub(super) fn start(&mut self) -> Result<Option<(u64, u64)>> {
        let Some(magic) = self.array::<4>() else { return Ok(None) };
        if magic != *b"GGUF" {
            bail!(BadHeader, "this is not a GGUF file: it does not begin with GGUF");
        }
        let Some(version) = self.u32() else { return Ok(None) };
        match version {
            2 | 3 => {}
            1 => bail!(Unsupported, "this is GGUF version 1; convert it with a current llama.cpp"),
            v if v.swap_bytes() <= 3 => {
                bail!(Unsupported, "this is a big-endian GGUF file; convert it to little-endian")
            }
            v => bail!(Unsupported, "this is GGUF version {v}; versions 2 and 3 are supported"),
        }
        let (Some(tensors), Some(keys)) = (self.u64(), self.u64()) else { return Ok(None) };
        if tensors > MAX_COUNT || keys > MAX_COUNT {
            bail!(BadHeader, "{tensors} tensors and {keys} keys are promised; {MAX_COUNT} of each are the most");
        }
        Ok(Some((tensors, keys)))
    }

    pub(super) fn value(&mut self, key: &str) -> Result<Option<Item>> {
        let Some(number) = self.u32() else { return Ok(None) };
        if number != 9 {
            return Ok(self.scalar(number, key)?.map(Item::Scalar));
        }
        let (Some(element), Some(count)) = (self.u32(), self.u64()) else { return Ok(None) };
        let (list, most) = match element {
            5 => (Value::I32s(Vec::new()), MAX_ARRAY),
            6 => (Value::F32s(Vec::new()), MAX_ARRAY),
            8 => (Value::Strings(Vec::new()), MAX_ARRAY),
            9 => bail!(Unsupported, "the key {key:?} is an array of arrays"),
            _ => (Value::Array(Vec::new()), MAX_ODD_ELEMENTS),
        };
        if count > most {
            bail!(BadHeader, "the array {key:?} has {count} elements; {most} are the most");
        }
        Ok(Some(Item::Array(element, count, list)))
    }

    fn scalar(&mut self, number: u32, key: &str) -> Result<Option<Value>> {
        Ok(match number {
            0 => self.array().map(|b: [u8; 1]| Value::U8(b[0])),
            1 => self.array().map(|b| Value::I8(i8::from_le_bytes(b))),
            2 => self.array().map(|b| Value::U16(u16::from_le_bytes(b))),
            3 => self.array().map(|b| Value::I16(i16::from_le_bytes(b))),
            4 => self.array().map(|b| Value::U32(u32::from_le_bytes(b))),
            5 => self.array().map(|b| Value::I32(i32::from_le_bytes(b))),
            6 => self.array().map(|b| Value::F32(f32::from_le_bytes(b))),
            7 => self.array().map(|b: [u8; 1]| Value::Bool(b[0] != 0)),
            8 => self.text(MAX_TEXT, "a text")?.map(Value::String),
            10 => self.array().map(|b| Value::U64(u64::from_le_bytes(b))),
            11 => self.array().map(|b| Value::I64(i64::from_le_bytes(b))),
            12 => self.array().map(|b| Value::F64(f64::from_le_bytes(b))),
            _ => bail!(BadHeader, "the key {key:?} has the type {number}, which GGUF does not have"),
        })
    }

    /// Appends the next element to the list; false if it is not all there.
    pub(super) fn element(&mut self, element: u32, key: &str, list: &mut Value) -> Result<bool> {
        let Some(value) = self.scalar(element, key)? else { return Ok(false) };
        match (list, value) {
            (Value::I32s(list), Value::I32(n)) => list.push(n),
            (Value::F32s(list), Value::F32(n)) => list.push(n),
            (Value::Strings(list), Value::String(text)) => list.push(text),
            (Value::Array(list), value) => list.push(value),
            _ => bail!(Internal, "an array's element type changed"),
        }
        Ok(true)
    }

    pub(super) fn tensor(&mut self) -> Result<Option<RawTensor>> {
        let Some(name) = self.text(MAX_NAME, "a tensor's name")? else { return Ok(None) };
        let Some(dims) = self.u32() else { return Ok(None) };
        if dims == 0 || dims > MAX_DIMS {
            let error = Error::new(ErrorKind::BadHeader, format!("{dims} dimensions; 1 to {MAX_DIMS} are allowed"));
            return Err(error.in_tensor(name));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let Some(dim) = self.u64() else { return Ok(None) };
            shape.push(dim);
        }
        let (Some(number), Some(offset)) = (self.u32(), self.u64()) else { return Ok(None) };
        Ok(Some(RawTensor { name, dims: shape, number, offset }))
    }
}
