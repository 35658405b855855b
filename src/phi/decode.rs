//! The decode loop: prefill in batches, then token by token; the cache is kept for the longest common prefix.

use crate::bail;
use crate::engine::Backend;
use crate::error::Result;
use crate::phi::cache::Cache;
use crate::phi::forward::Activations;
use crate::phi::model::Model;
use crate::phi::sample::Sampling;

/// Tokens in a batch of the prefill: enough that weights are unpacked once for many, few enough that a caller can stop
/// within a moment.
pub const BATCH: usize = 64;

/// A model and one conversation's KV cache.
///
/// Every call may fail or be dropped halfway: tokens count as cached only once the device has answered, so the next
/// call finds a state that is true.
pub struct Session<B: Backend> {
    pub model: Model<B>,
    cache: Cache<B>,
    activations: Activations<B>,
    sampling: Sampling,
    /// Tokens of the conversation that are not in the cache yet, in order.
    pending: Vec<u32>,
    /// The token that `next` gave last: it is fed when the one after it is asked for, so that a caller who stops has not
    /// paid for it.
    given: Option<u32>,
    logits: Vec<f32>,
}

impl<B: Backend> Session<B> {
    /// Makes room for the model's context. Fails with `OutOfMemory`.
    pub fn new(model: Model<B>) -> Result<Self> {
        Self::with_batch(model, BATCH)
    }

    /// As [`Session::new`], prefilling `batch` tokens at a time.
    pub fn with_batch(model: Model<B>, batch: usize) -> Result<Self> {
        let batch = batch.clamp(1, model.context);
        Ok(Self {
            cache: Cache::new(&model.backend, &model.config, model.context)?,
            activations: Activations::new(&model.backend, &model.config, batch)?,
            sampling: Sampling::default(),
            pending: Vec::new(),
            given: None,
            logits: Vec::new(),
            model,
        })
    }

    /// Begins an answer to `prompt`: keeps the cache for the longest prefix that it shares with the tokens already there,
    /// and returns how many tokens remain to prefill (at least 1).
    ///
    /// Fails with `BadOption` (a sampling option, an empty prompt, an id outside the vocabulary) or `ContextFull`; the
    /// session is then as it was.
    pub fn begin(&mut self, prompt: &[u32], sampling: Sampling) -> Result<usize> {
        sampling.check()?;
        let (context, vocab) = (self.model.context, self.model.config.vocab);
        let Some((_, before_last)) = prompt.split_last() else {
            bail!(BadOption, "the prompt has no tokens");
        };
        if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab) {
            bail!(BadOption, "the prompt has token {id}, but the vocabulary ends at {}", vocab - 1);
        }
        if prompt.len() > context {
            bail!(ContextFull, "the prompt has {} tokens, the context has room for {context}", prompt.len());
        }
        // The last token is always fed anew: its logits are what the answer begins with.
        let shared = before_last.iter().zip(self.cache.tokens()).take_while(|(a, b)| a == b).count();
        self.cache.truncate(shared);
        self.rotate_for(prompt.len());
        self.pending = prompt[self.cache.len()..].to_vec();
        (self.sampling, self.given) = (sampling, None);
        Ok(self.pending.len())
    }

    /// Empties the cache if `total` tokens are on the other side of LongRoPE's switch than its keys.
    fn rotate_for(&mut self, total: usize) {
        let long = self.model.rope.is_long(total);
        if self.cache.long != long {
            self.cache.truncate(0);
            self.cache.long = long;
        }
    }

    /// Prefills the next batch; returns how many tokens remain. Between calls the caller may stop.
    pub async fn prefill(&mut self) -> Result<usize> {
        let count = self.pending.len().min(self.activations.batch);
        if count == 0 {
            return Ok(0);
        }
        self.model.forward(&mut self.cache, &mut self.activations, &self.pending[..count])?;
        if count == self.pending.len() {
            self.logits = self.model.logits(&mut self.activations, count - 1).await?;
        } else {
            self.model.finished(&self.activations).await?;
        }
        self.cache.append(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(self.pending.len())
    }

    /// The next token of the answer. `None`: the model ended it.
    ///
    /// Feeds the token that it gave before (and whatever `prefill` has left), then samples. Where that token is the first
    /// beyond LongRoPE's switch, the whole cache is recomputed, which takes as long as a prefill.
    /// Fails with `ContextFull` where the cache has no room for it; the answer so far stands.
    pub async fn next(&mut self) -> Result<Option<u32>> {
        if let Some(token) = self.given {
            let total = self.cache.len() + 1;
            if total > self.model.context {
                bail!(ContextFull, "the context of {} tokens is full", self.model.context);
            }
            self.given = None;
            self.pending = vec![token];
            if self.model.rope.is_long(total) != self.cache.long {
                self.pending = [self.cache.tokens(), &[token]].concat();
                self.rotate_for(total);
            }
        }
        while !self.pending.is_empty() {
            self.prefill().await?;
        }
        if self.cache.is_empty() {
            bail!(Internal, "next() without begin()");
        }
        let token = self.sampling.choose(&self.logits, self.cache.tokens())?;
        if self.model.config.eos.contains(&token) {
            return Ok(None);
        }
        self.given = Some(token);
        Ok(Some(token))
    }

    /// The latest logits, `vocab` of them: those that the latest token was sampled from.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Tokens whose keys and values are in the cache.
    pub fn cached(&self) -> &[u32] {
        self.cache.tokens()
    }
}
