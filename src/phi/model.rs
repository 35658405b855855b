//! A model on a device: which tensors it wants, in which form, and where they are put.

use crate::checkpoint::Checkpoint;
use crate::engine::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::phi::config::Config;
use std::ops::Range;

/// A span of a weight file that the loader wants, whole rows at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub tensor: String,
    /// Index into [`Checkpoint::files`].
    pub file: usize,
    pub span: Range<u64>,
    /// Bytes of one row: pieces given to [`Loader::put`] are multiples of it.
    pub row_bytes: u64,
}

/// Takes the weights as they stream in, in any order, and makes a model.
pub struct Loader<B: Backend> {
    _backend: B,
}

impl<B: Backend> Loader<B> {
    pub fn new(_checkpoint: &Checkpoint, _backend: B, _context: Option<usize>) -> Result<Self> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// In file order.
    pub fn wanted(&self) -> &[Wanted] {
        &[]
    }

    /// Whole rows of `wanted()[index]`, beginning with row `row`.
    pub fn put(&mut self, _index: usize, _row: u64, _bytes: &[u8]) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    pub fn finish(self) -> Result<Model<B>> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }
}

/// Weights on a device, in the form that it likes.
pub struct Model<B: Backend> {
    pub config: Config,
    pub backend: B,
    /// Tokens that the KV cache has room for.
    pub context: usize,
}
