//! A checkpoint as it was found: its texts (config, tokenizer), its weight files' headers, and what they add up to.

use crate::error::{Error, ErrorKind, Result};
use crate::formats::{Header, Need};
use crate::phi::config::Config;
use crate::tensor::TensorInfo;
use std::collections::BTreeMap;

/// A tensor and the weight file that holds it (an index into [`Checkpoint::files`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    pub file: usize,
    pub info: TensorInfo,
}

/// Everything but the weights themselves.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub config: Config,
    /// Text files by name: config.json, generation_config.json, tokenizer.json, tokenizer_config.json … For a GGUF the
    /// tokenizer's texts are made from its metadata, so that everyone downstream sees one spelling.
    pub texts: BTreeMap<String, String>,
    /// Small binary files by name: tokenizer.model.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Names of the weight files.
    pub files: Vec<String>,
    /// Each weight file's header, in the order of `files`.
    pub headers: Vec<Header>,
    /// Every tensor, in file order.
    pub tensors: Vec<Located>,
    /// What a person should know although it is no error.
    pub notices: Vec<String>,
}

/// Collects a checkpoint: add what is there, ask what is wanted, push headers, finish.
#[derive(Default)]
pub struct Builder {}

impl Builder {
    /// A name without content, so that the builder knows what a folder has; optional.
    pub fn add_text(&mut self, _name: &str, _text: String) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    pub fn add_blob(&mut self, _name: &str, _bytes: Vec<u8>) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// The weight files whose headers are wanted, given the texts so far (config.json, and the index if there is one).
    pub fn weight_files(&self) -> Result<Vec<String>> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Pushes the next bytes of a weight file, from its start; `size` is the file's length where known.
    pub fn push_header(&mut self, _file: &str, _size: Option<u64>, _bytes: &[u8]) -> Result<Need> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    pub fn finish(self) -> Result<Checkpoint> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }
}
