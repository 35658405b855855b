//! GGUF version 3 (and reading 2): reader, writer, llama.cpp's keys and names, llama-quantize's mixes.

mod cursor;
pub mod mix;
pub mod naming;
pub mod reader;
pub mod tokenizer;
pub mod types;
mod value;
pub mod writer;

pub use reader::Reader;
pub use value::{Metadata, Value, find};
