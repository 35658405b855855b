//! The decode loop: prefill in batches, then token by token; the cache is kept for the longest common prefix.

use crate::engine::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::phi::model::Model;
use crate::phi::sample::Sampling;

/// A model and one conversation's KV cache.
pub struct Session<B: Backend> {
    pub model: Model<B>,
}

impl<B: Backend> Session<B> {
    pub fn new(model: Model<B>) -> Result<Self> {
        Ok(Self { model })
    }

    /// Begins an answer to `prompt`: keeps the cache for the longest prefix that it shares with the tokens already there,
    /// and returns how many tokens remain to prefill (at least 1).
    pub fn begin(&mut self, _prompt: &[u32], _sampling: Sampling) -> Result<usize> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Prefills the next batch; returns how many tokens remain. Between calls the caller may stop.
    pub async fn prefill(&mut self) -> Result<usize> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// Samples the next token and, unless it ends the answer, feeds it. `None`: the model ended its answer.
    /// Fails with `ContextFull` where the cache has no room.
    pub async fn next(&mut self) -> Result<Option<u32>> {
        Err(Error::new(ErrorKind::Internal, "not built yet"))
    }

    /// The latest logits, `vocab` of them.
    pub fn logits(&self) -> &[f32] {
        &[]
    }
}
