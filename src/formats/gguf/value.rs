//! Metadata values, with GGUF's own types.

/// Keys and values in file order.
pub type Metadata = Vec<(String, Value)>;

/// A metadata value, with GGUF's own types.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    U64(u64),
    I64(i64),
    F64(f64),
    Strings(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    /// Any other array, element by element.
    Array(Vec<Value>),
}

/// The value of a key.
pub fn find<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a Value> {
    metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

impl Value {
    /// Any integer type, where it is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => Some(n),
            Value::I8(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Value::Strings(list) => Some(list),
            _ => None,
        }
    }

    /// The type's number in the file (`enum gguf_type`); for an array its elements' type.
    pub(super) fn type_number(&self) -> u32 {
        match self {
            Value::U8(_) => 0,
            Value::I8(_) => 1,
            Value::U16(_) => 2,
            Value::I16(_) => 3,
            Value::U32(_) => 4,
            Value::I32(_) | Value::I32s(_) => 5,
            Value::F32(_) | Value::F32s(_) => 6,
            Value::Bool(_) => 7,
            Value::String(_) | Value::Strings(_) => 8,
            Value::U64(_) => 10,
            Value::I64(_) => 11,
            Value::F64(_) => 12,
            Value::Array(list) => list.first().map_or(0, Value::type_number),
        }
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self, Value::Strings(_) | Value::F32s(_) | Value::I32s(_) | Value::Array(_))
    }
}
