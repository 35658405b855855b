//! The pickle of a state dict, read and never executed (Python's pickletools.py; torch/serialization.py, torch/_utils.py).
//!
//! A pickle is a program for a stack machine that may call anything. Here it may name only what [`GLOBALS`] lists, and "calling"
//! one of these makes a description of a tensor; any other name is an error. Values live in one list and refer to one another by
//! place, so nothing is deep and nothing is copied.

use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, TensorInfo, elements};
use std::collections::HashMap;
use std::ops::Range;

/// Values that a pickle may make.
const MAX_VALUES: usize = 1 << 22;

/// What may be named, and what it is here.
const GLOBALS: &[(&str, &str, Global)] = &[
    ("collections", "OrderedDict", Global::Dict),
    ("torch._utils", "_rebuild_tensor_v2", Global::Tensor),
    ("torch._utils", "_rebuild_parameter", Global::Parameter),
    ("torch", "FloatStorage", Global::Storage("F32", 4)),
    ("torch", "HalfStorage", Global::Storage("F16", 2)),
    ("torch", "BFloat16Storage", Global::Storage("BF16", 2)),
    // No weights: masks and positions, which the model does without.
    ("torch", "DoubleStorage", Global::Storage("F64", 8)),
    ("torch", "LongStorage", Global::Storage("I64", 8)),
    ("torch", "IntStorage", Global::Storage("I32", 4)),
    ("torch", "ShortStorage", Global::Storage("I16", 2)),
    ("torch", "CharStorage", Global::Storage("I8", 1)),
    ("torch", "ByteStorage", Global::Storage("U8", 1)),
    ("torch", "BoolStorage", Global::Storage("BOOL", 1)),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Global {
    Dict,
    Tensor,
    Parameter,
    Storage(&'static str, usize),
}

type Id = usize;

#[derive(Debug, Clone)]
enum Value {
    /// None, and what is of no account.
    Nothing,
    Mark,
    Number(i64),
    Text(String),
    Global(Global),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Type, bytes of an element, and the record's key.
    Storage(&'static str, usize, String),
    Tensor {
        storage: Id,
        offset: i64,
        shape: Vec<i64>,
        strides: Vec<i64>,
    },
}

/// The tensors of a state dict. `record` says where a storage's bytes are.
pub(super) fn tensors(bytes: &[u8], record: impl Fn(&str) -> Option<Range<u64>>) -> Result<Vec<TensorInfo>> {
    let mut machine = Machine { rest: bytes, values: Vec::new(), stack: Vec::new(), memo: HashMap::new() };
    let top = machine.run()?;
    let Value::Dict(entries) = &machine.values[top] else {
        bail!(BadHeader, "the pickle holds no dictionary of tensors");
    };
    let mut found = Vec::new();
    for (key, value) in entries {
        let Value::Text(name) = &machine.values[*key] else { bail!(BadHeader, "a tensor's name is no text") };
        let Value::Tensor { storage, offset, shape, strides } = &machine.values[*value] else {
            let what = "this entry is no tensor: only the weights of a model are read (a state dict, as save_pretrained writes it)";
            return Err(Error::new(ErrorKind::Unsupported, what).in_tensor(name.clone()));
        };
        let Value::Storage(dtype, width, key) = &machine.values[*storage] else {
            return Err(Error::new(ErrorKind::BadHeader, "the tensor has no storage").in_tensor(name.clone()));
        };
        let info = tensor(name, (dtype, *width), *offset, shape, strides, record(key));
        found.push(info.map_err(|e| e.in_tensor(name.clone()))?);
    }
    Ok(found)
}

fn tensor(
    name: &str,
    (dtype, width): (&'static str, usize),
    offset: i64,
    shape: &[i64],
    strides: &[i64],
    record: Option<Range<u64>>,
) -> Result<TensorInfo> {
    let Some(record) = record else { bail!(BadHeader, "the archive has no record with the tensor's bytes") };
    let positive = |n: &i64| u64::try_from(*n).ok();
    let Some(shape) = shape.iter().map(positive).collect::<Option<Vec<_>>>().filter(|shape| shape.len() <= 8) else {
        bail!(BadHeader, "the shape {shape:?} cannot be");
    };
    let count = elements(&shape)?;
    // Row-major, one element after another; a dimension of 1 may have any stride.
    let mut expected = 1u64;
    for (dim, stride) in shape.iter().zip(strides).rev() {
        if *dim > 1 && positive(stride) != Some(expected) {
            bail!(
                Unsupported,
                "the tensor is a transposed or cut view (strides {strides:?}): call contiguous() on it before saving"
            );
        }
        expected = expected.saturating_mul(*dim);
    }
    let width = width as u64;
    let start = positive(&offset).and_then(|offset| offset.checked_mul(width)?.checked_add(record.start));
    let end = start.and_then(|start| start.checked_add(count.checked_mul(width)?));
    match (start, end) {
        (Some(start), Some(end)) if end <= record.end && shape.len() == strides.len() => {
            let dtype = DType { name: dtype, group: 1, group_bytes: width as usize };
            Ok(TensorInfo { name: name.to_owned(), shape, dtype, span: start..end })
        }
        _ => bail!(
            BadHeader,
            "the tensor of shape {shape:?} does not fit its record of {} bytes",
            record.end - record.start
        ),
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Id> {
        loop {
            let code = self.take(1)?[0];
            match code {
                b'.' => return self.pop(),
                // PROTO, FRAME: of no account.
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.push(Value::Mark)?,
                b'0' => drop(self.pop()?),
                b'N' | 0x88 | 0x89 => self.push(Value::Nothing)?,
                b'J' => {
                    let n = i32::from_le_bytes(self.array()?);
                    self.push(Value::Number(n.into()))?;
                }
                b'K' => {
                    let n = self.take(1)?[0];
                    self.push(Value::Number(n.into()))?;
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.array()?);
                    self.push(Value::Number(n.into()))?;
                }
                0x8a => self.long()?,
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Nothing)?;
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.text(length as usize)?;
                }
                0x8c | b'U' => {
                    let length = self.take(1)?[0];
                    self.text(length.into())?;
                }
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b']' => self.push(Value::List(Vec::new()))?,
                b')' => self.push(Value::Tuple(Vec::new()))?,
                b't' => {
                    let items = self.marked()?;
                    self.push(Value::Tuple(items))?;
                }
                0x85..=0x87 => {
                    let count = usize::from(code - 0x84);
                    let items = self.several(count)?;
                    self.push(Value::Tuple(items))?;
                }
                b'q' => {
                    let place = self.take(1)?[0];
                    self.remember(place.into())?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.remember(place)?;
                }
                0x94 => self.remember(self.memo.len() as u32)?,
                b'h' => {
                    let place = self.take(1)?[0];
                    self.recall(place.into())?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.recall(place)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let names = self.several(2)?;
                    let [Value::Text(module), Value::Text(name)] = [0, 1].map(|i| self.values[names[i]].clone()) else {
                        bail!(BadHeader, "the pickle names something by what is no text");
                    };
                    self.global(&module, &name)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                b's' => {
                    let pair = self.several(2)?;
                    self.set(&pair)?;
                }
                b'u' => {
                    let items = self.marked()?;
                    self.set(&items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' => {
                    let items = self.marked()?;
                    self.append(&items)?;
                }
                // BUILD: the attributes of a state dict, `_metadata`.
                b'b' => {
                    self.pop()?;
                    let top = self.top()?;
                    if !matches!(self.values[top], Value::Dict(_)) {
                        return Err(unsafe_pickle("sets the state of an object".into()));
                    }
                }
                _ => return Err(unsafe_pickle(format!("uses the instruction {code:#04x}"))),
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            bail!(Truncated, "the pickle ends too early");
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take gives as many as were asked for"))
    }

    fn line(&mut self) -> Result<String> {
        let end = self.rest.iter().take(1024).position(|byte| *byte == b'\n');
        let Some(end) = end else { bail!(BadHeader, "a name in the pickle does not end") };
        let line = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Value::Text(text))
    }

    /// LONG1: a number in two's complement, of any length.
    fn long(&mut self) -> Result<()> {
        let length = self.take(1)?[0];
        let bytes = self.take(length.into())?;
        if bytes.len() > 8 {
            bail!(BadHeader, "a number in the pickle has more than 64 bits");
        }
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut all = [fill; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Number(i64::from_le_bytes(all)))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.values.len() >= MAX_VALUES {
            bail!(BadHeader, "the pickle makes more than {MAX_VALUES} values");
        }
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        match self.stack.pop() {
            Some(id) => Ok(id),
            None => bail!(BadHeader, "the pickle takes more than it has"),
        }
    }

    fn top(&self) -> Result<Id> {
        match self.stack.last() {
            Some(id) => Ok(*id),
            None => bail!(BadHeader, "the pickle takes more than it has"),
        }
    }

    fn several(&mut self, count: usize) -> Result<Vec<Id>> {
        match self.stack.len().checked_sub(count) {
            Some(at) => Ok(self.stack.split_off(at)),
            None => bail!(BadHeader, "the pickle takes more than it has"),
        }
    }

    /// What was pushed since the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        let mark = self.stack.iter().rposition(|id| matches!(self.values[*id], Value::Mark));
        let Some(mark) = mark else { bail!(BadHeader, "the pickle has no mark where it needs one") };
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn remember(&mut self, place: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<()> {
        match self.memo.get(&place) {
            Some(id) if self.stack.len() < MAX_VALUES => self.stack.push(*id),
            _ => bail!(BadHeader, "the pickle recalls what it did not remember"),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let known = GLOBALS.iter().find(|(m, n, _)| (*m, *n) == (module, name));
        match known {
            Some((.., global)) => self.push(Value::Global(*global)),
            None => Err(unsafe_pickle(format!("asks for {module}.{name}"))),
        }
    }

    /// ("storage", type, key, device, elements)
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        if let Value::Tuple(items) = &self.values[id]
            && let [_, kind, key, ..] = items[..]
            && let (Value::Global(Global::Storage(dtype, width)), Value::Text(key)) =
                (&self.values[kind], &self.values[key])
        {
            let storage = Value::Storage(dtype, *width, key.clone());
            return self.push(storage);
        }
        bail!(BadHeader, "the pickle describes a storage as torch does not");
    }

    fn call(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = self.values[function] else {
            return Err(unsafe_pickle("calls what it made itself".into()));
        };
        let Value::Tuple(items) = self.values[arguments].clone() else {
            bail!(BadHeader, "the pickle calls something without arguments");
        };
        match (function, &items[..]) {
            (Global::Dict, []) => self.push(Value::Dict(Vec::new())),
            (Global::Parameter, [tensor, ..]) => {
                self.stack.push(*tensor);
                Ok(())
            }
            (Global::Tensor, [storage, offset, shape, strides, ..]) => {
                let Value::Number(offset) = self.values[*offset] else {
                    bail!(BadHeader, "a tensor's offset is no number");
                };
                let (shape, strides) = (self.numbers(*shape)?, self.numbers(*strides)?);
                self.push(Value::Tensor { storage: *storage, offset, shape, strides })
            }
            _ => bail!(BadHeader, "the pickle makes a tensor with other arguments than torch"),
        }
    }

    fn numbers(&self, tuple: Id) -> Result<Vec<i64>> {
        let number = |id: &Id| match self.values[*id] {
            Value::Number(n) => Some(n),
            _ => None,
        };
        match &self.values[tuple] {
            Value::Tuple(items) => items.iter().map(number).collect::<Option<_>>(),
            _ => None,
        }
        .ok_or_else(|| Error::new(ErrorKind::BadHeader, "a tensor's shape is no tuple of numbers"))
    }

    fn set(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Dict(entries) if items.len().is_multiple_of(2) => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => bail!(BadHeader, "the pickle sets entries of what is no dictionary"),
        }
    }

    fn append(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => {
                list.extend(items);
                Ok(())
            }
            _ => bail!(BadHeader, "the pickle appends to what is no list"),
        }
    }
}

fn unsafe_pickle(what: String) -> Error {
    let why =
        "a file of weights has no need of that, and nothing of it was executed. Use a safetensors file of the model";
    Error::new(ErrorKind::UnsafePickle, format!("the pickle {what}: {why}"))
}
