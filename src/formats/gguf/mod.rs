//! GGUF version 3 (and reading 2): reader, writer, llama.cpp's keys and names, llama-quantize's mixes.

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
