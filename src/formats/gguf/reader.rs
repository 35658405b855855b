//! Reads a GGUF header, pushed in pieces of any size.
//!
//! Every length in the file is distrusted: nothing is reserved by it, lists grow with the bytes that have arrived, and the
//! caps below end what no model needs. ggml refuses the same things (gguf.cpp): double keys, tensors out of order, gaps.

use super::cursor::{Cursor, Item, RawTensor};
use super::types;
use super::value::{Metadata, Value};
use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::{Header, HeaderReader, Need};
use crate::num::align_up;
use crate::tensor::{TensorInfo, elements};
use std::collections::HashSet;

/// Keys, and tensors. Models have some dozens of keys and some hundreds of tensors.
pub const MAX_COUNT: u64 = 1 << 16;
/// Bytes of a key or a tensor's name (the specification's limit for keys).
pub const MAX_NAME: u64 = 65_535;
/// Bytes of a text; chat templates have thousands.
pub const MAX_TEXT: u64 = 1 << 24;
/// Elements of an array of texts or numbers; vocabularies have hundreds of thousands.
pub const MAX_ARRAY: u64 = 1 << 23;
/// Elements of all other arrays together: each takes 32 bytes in memory.
pub const MAX_ODD_ELEMENTS: u64 = 1 << 20;
/// Bytes of the whole header.
pub const MAX_HEADER: u64 = 1 << 28;
/// ggml's GGML_MAX_DIMS.
pub const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// What the next bytes are.
enum State {
    Start,
    Key,
    Value { key: String },
    Elements { key: String, element: u32, left: u64, list: Value },
    Tensor,
    Done,
}

/// Reads the header of a GGUF file of version 2 or 3, little-endian.
pub struct Reader {
    size: Option<u64>,
    state: State,
    /// Bytes that have arrived and are not taken yet: `buffer[taken..]`.
    buffer: Vec<u8>,
    taken: usize,
    /// The file position of `buffer[taken]`.
    position: u64,
    found: Found,
}

/// What the header has said so far.
#[derive(Default)]
struct Found {
    keys_left: u64,
    tensors_left: u64,
    odd_elements: u64,
    keys: HashSet<String>,
    metadata: Metadata,
    names: HashSet<String>,
    tensors: Vec<TensorInfo>,
    /// 0 until general.alignment says one.
    alignment: u64,
    data_start: u64,
    /// Where the next tensor must begin, counted from `data_start`.
    data_end: u64,
}

impl Reader {
    /// `size`: the file's length, where it is known; a header that promises more is then refused at once.
    pub fn new(size: Option<u64>) -> Self {
        Self { size, state: State::Start, buffer: Vec::new(), taken: 0, position: 0, found: Found::default() }
    }

    /// Takes the next item if it is all there; otherwise says how many bytes more it wants at least. An item is small or
    /// capped, so it waits in the buffer until complete; an array is taken element by element.
    fn step(&mut self) -> Result<Option<u64>> {
        let mut cursor = Cursor { bytes: &self.buffer[self.taken..], at: 0, missing: 0 };
        let state = std::mem::replace(&mut self.state, State::Done);
        let next = self.found.step(state, &mut cursor)?;
        let (at, missing) = (cursor.at, cursor.missing);
        match next {
            Next::Waits(state) => {
                self.state = state;
                return Ok(Some(missing));
            }
            // What was read stays read; the rest of the array waits for more bytes.
            Next::Partly(state) => {
                self.state = state;
                self.take(at);
                return Ok(Some(missing));
            }
            Next::Taken(state) => {
                self.state = state;
                self.take(at);
            }
        }
        if matches!(self.state, State::Key) && self.found.keys_left == 0 {
            self.state = State::Tensor;
        }
        if matches!(self.state, State::Tensor) && self.found.tensors_left == 0 {
            self.state = State::Done;
            self.found.end(self.position, self.size)?;
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) {
        self.taken += n;
        self.position += n as u64;
    }
}

/// What a step came to, and what the next bytes are.
enum Next {
    Taken(State),
    Waits(State),
    Partly(State),
}

impl Found {
    fn step(&mut self, state: State, cursor: &mut Cursor) -> Result<Next> {
        Ok(match state {
            State::Start => match cursor.start()? {
                None => Next::Waits(State::Start),
                Some((tensors, keys)) => {
                    (self.tensors_left, self.keys_left) = (tensors, keys);
                    Next::Taken(State::Key)
                }
            },
            State::Key => match cursor.text(MAX_NAME, "a key")? {
                None => Next::Waits(State::Key),
                Some(key) => {
                    if !self.keys.insert(key.clone()) {
                        bail!(BadHeader, "the key {key:?} stands there twice");
                    }
                    Next::Taken(State::Value { key })
                }
            },
            State::Value { key } => match cursor.value(&key)? {
                None => Next::Waits(State::Value { key }),
                Some(Item::Scalar(value)) => {
                    self.add(key, value)?;
                    Next::Taken(State::Key)
                }
                Some(Item::Array(element, left, list)) => Next::Taken(State::Elements { key, element, left, list }),
            },
            State::Elements { key, element, mut left, mut list } => {
                let before = left;
                while left > 0 && cursor.element(element, &key, &mut list)? {
                    left -= 1;
                }
                if matches!(list, Value::Array(_)) {
                    self.odd_elements += before - left;
                    if self.odd_elements > MAX_ODD_ELEMENTS {
                        bail!(BadHeader, "the arrays hold more than {MAX_ODD_ELEMENTS} elements");
                    }
                }
                if left > 0 {
                    return Ok(Next::Partly(State::Elements { key, element, left, list }));
                }
                self.add(key, list)?;
                Next::Taken(State::Key)
            }
            State::Tensor => match cursor.tensor()? {
                None => Next::Waits(State::Tensor),
                Some(raw) => {
                    let name = raw.name.clone();
                    self.add_tensor(raw).map_err(|e| e.in_tensor(name))?;
                    Next::Taken(State::Tensor)
                }
            },
            State::Done => Next::Taken(State::Done),
        })
    }

    fn add(&mut self, key: String, value: Value) -> Result<()> {
        if key == "general.alignment" {
            self.alignment = match value {
                Value::U32(n) if n.is_power_of_two() && (8..=1 << 20).contains(&n) => n.into(),
                _ => bail!(BadHeader, "general.alignment is not a power of two between 8 and 1048576"),
            };
        }
        self.metadata.push((key, value));
        self.keys_left -= 1;
        Ok(())
    }

    fn alignment(&self) -> u64 {
        if self.alignment == 0 { DEFAULT_ALIGNMENT } else { self.alignment }
    }

    fn add_tensor(&mut self, raw: RawTensor) -> Result<()> {
        let RawTensor { name, dims, number, offset } = raw;
        if !self.names.insert(name.clone()) {
            bail!(BadHeader, "two tensors have this name");
        }
        let Some(dtype) = types::by_number(number) else {
            bail!(BadHeader, "{number} is no tensor type of ggml's");
        };
        // GGUF counts dimensions from the contiguous one on.
        let shape: Vec<u64> = dims.into_iter().rev().collect();
        if elements(&shape)? == 0 {
            bail!(BadHeader, "the shape {shape:?} has no elements");
        }
        let cols = shape[shape.len() - 1];
        let rows = shape[..shape.len() - 1].iter().product::<u64>();
        if !cols.is_multiple_of(dtype.group as u64) {
            bail!(BadHeader, "rows of {cols} elements do not divide into {}'s blocks of {}", dtype.name, dtype.group);
        }
        if offset != self.data_end {
            let next = self.data_end;
            bail!(BadHeader, "the tensor begins at {offset}, where {next} is next: a gap or an overlap");
        }
        let bytes = dtype.row_bytes(cols).and_then(|row| row.checked_mul(rows));
        let end = bytes.and_then(|bytes| offset.checked_add(bytes)).filter(|&end| end <= u64::MAX / 2);
        let Some(end) = end else {
            bail!(BadHeader, "the tensor ends beyond what 63 bits can count");
        };
        self.data_end = align_up(end, self.alignment());
        self.tensors.push(TensorInfo { name, shape, dtype, span: offset..end });
        self.tensors_left -= 1;
        Ok(())
    }

    /// The header is complete and ends at `position`: turns offsets into file positions.
    fn end(&mut self, position: u64, size: Option<u64>) -> Result<()> {
        self.data_start = align_up(position, self.alignment());
        for tensor in &mut self.tensors {
            tensor.span = tensor.span.start + self.data_start..tensor.span.end + self.data_start;
        }
        if let (Some(last), Some(size)) = (self.tensors.last(), size)
            && last.span.end > size
        {
            let end = last.span.end;
            let error = Error::new(
                ErrorKind::Truncated,
                format!("the file has {size} bytes, and its header promises {end}: the download or copy is incomplete"),
            );
            return Err(error.in_tensor(last.name.clone()));
        }
        Ok(())
    }
}

impl HeaderReader for Reader {
    fn push(&mut self, bytes: &[u8]) -> Result<Need> {
        if matches!(self.state, State::Done) {
            return Ok(Need::Nothing);
        }
        self.buffer.extend_from_slice(bytes);
        let missing = loop {
            let missing = self.step()?;
            if matches!(self.state, State::Done) {
                self.buffer = Vec::new();
                self.taken = 0;
                return Ok(Need::Nothing);
            }
            if let Some(missing) = missing {
                break missing;
            }
        };
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let wanted = (self.position + self.buffer.len() as u64).saturating_add(missing);
        if wanted > MAX_HEADER {
            bail!(BadHeader, "the header is longer than {MAX_HEADER} bytes");
        }
        if let Some(size) = self.size.filter(|&size| wanted > size) {
            bail!(Truncated, "the file has {size} bytes and ends within its header, which wants {wanted} at least");
        }
        Ok(Need::More(missing))
    }

    fn finish(self: Box<Self>) -> Result<Header> {
        if !matches!(self.state, State::Done) {
            bail!(Truncated, "the file ends within its header");
        }
        let Found { tensors, metadata, data_start, .. } = self.found;
        Ok(Header { tensors, metadata, data_start })
    }
}
