//! The KV cache, and the tables of rotary position embedding that its keys were rotated by.

use crate::engine::Backend;
use crate::error::Result;
use crate::phi::config::{Config, Rope};

/// Keys and values of the tokens so far, layer by layer, on the device.
pub struct Cache<B: Backend> {
    /// Per layer: room for `context` tokens' keys, and values, `kv_heads·head_dim` each.
    layers: Vec<(B::Buffer, B::Buffer)>,
    tokens: Vec<u32>,
    /// The keys were rotated by LongRoPE's long factors.
    pub long: bool,
}

impl<B: Backend> Cache<B> {
    /// Room for `context` tokens: `2 · layers · context · kv_heads · head_dim` f32 in all. Fails with `OutOfMemory`.
    pub fn new(backend: &B, config: &Config, context: usize) -> Result<Self> {
        let len = context.saturating_mul(config.kv_heads * config.head_dim);
        let layer = |_| Ok((backend.buffer(len)?, backend.buffer(len)?));
        Ok(Self { layers: (0..config.layers).map(layer).collect::<Result<_>>()?, tokens: Vec::new(), long: false })
    }

    /// Tokens whose keys and values are in the cache.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Keys and values to write to, layer by layer.
    pub fn layers(&mut self) -> impl Iterator<Item = (&mut B::Buffer, &mut B::Buffer)> {
        self.layers.iter_mut().map(|(keys, values)| (keys, values))
    }

    /// The next tokens' keys and values have been written.
    pub fn append(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
    }
}

/// Cosines and sines per position, on the device, for both sides of LongRoPE's switch.
///
/// transformers rotates *all* tokens by the long factors as soon as there are more than the original context, and drops
/// the cache on the way there, so that every logit equals a fresh pass over all tokens so far. So do we:
/// [`RopeTables::is_long`] of the total length chooses, and a cache made with the other table is recomputed.
pub struct RopeTables<B: Backend> {
    short: B::Buffer,
    /// Only where the context reaches beyond the switch.
    long: Option<B::Buffer>,
    /// Tokens up to which `short` holds.
    original_context: usize,
}

impl<B: Backend> RopeTables<B> {
    pub fn new(backend: &B, config: &Config, context: usize) -> Result<Self> {
        let (original_context, rope) = (config.original_context, &config.rope);
        let Some(long) = &rope.long else {
            let short = backend.upload(&table(rope, None, 1.0, context)?)?;
            return Ok(Self { short, long: None, original_context: usize::MAX });
        };
        let scales = long.mscale.unwrap_or([long.attention_factor; 2]);
        let short = table(rope, Some(&long.short), scales[0], context.min(original_context))?;
        let long = match context > original_context {
            true => Some(backend.upload(&table(rope, Some(&long.long), scales[1], context)?)?),
            false => None,
        };
        Ok(Self { short: backend.upload(&short)?, long, original_context })
    }

    /// Whether `tokens` tokens in all are rotated by the long factors.
    pub fn is_long(&self, tokens: usize) -> bool {
        tokens > self.original_context
    }

    pub fn table(&self, long: bool) -> &B::Buffer {
        self.long.as_ref().filter(|_| long).unwrap_or(&self.short)
    }
}

/// `[positions, 2·pairs]`: cosines, then sines, of `position / (factor · theta^(2i / dim))`, times `scale`.
///
/// Frequencies and angles are rounded to f32 as transformers rounds them: at position 100 000 an angle's last bit is a
/// hundredth of a radian, so a more exact table would be a different model.
fn table(rope: &Rope, factors: Option<&[f32]>, scale: f32, positions: usize) -> Result<Vec<f32>> {
    let pairs = rope.dim / 2;
    let frequencies: Vec<f32> = (0..pairs)
        .map(|i| {
            let exponent = (2 * i) as f32 / rope.dim as f32;
            let power = f64::from(rope.theta).powf(f64::from(exponent)) as f32;
            1.0 / (factors.map_or(1.0, |factors| factors[i]) * power)
        })
        .collect();
    let mut table = crate::engine::zeros(positions.saturating_mul(2 * pairs))?;
    for (position, row) in table.chunks_exact_mut(2 * pairs).enumerate() {
        let (cosines, sines) = row.split_at_mut(pairs);
        for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(&frequencies) {
            let angle = f64::from(position as f32 * frequency);
            *cos = angle.cos() as f32 * scale;
            *sin = angle.sin() as f32 * scale;
        }
    }
    Ok(table)
}
