//! tokenizer.json, as far as GGUF wants it. Read into lists, not into a tree of values: vocabularies have hundreds of
//! thousands of tokens, and a browser's memory is small.

use crate::bail;
use crate::error::Result;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use std::fmt;

#[derive(serde::Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub added_tokens: Vec<Added>,
    pub normalizer: Option<Json>,
    pub pre_tokenizer: Option<Json>,
    pub post_processor: Option<Json>,
    pub model: Model,
}

#[derive(serde::Deserialize)]
pub(super) struct Added {
    pub id: u64,
    pub content: String,
    #[serde(default)]
    pub special: bool,
}

#[derive(serde::Deserialize)]
pub(super) struct Model {
    /// `BPE`; the oldest files do not say.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub vocab: Vocab,
    #[serde(default)]
    pub merges: Vec<Merge>,
    pub unk_token: Option<Json>,
    #[serde(default)]
    pub byte_fallback: bool,
}

impl File {
    pub fn parse(text: &str) -> Result<File> {
        match serde_json::from_str(text) {
            Ok(file) => Ok(file),
            Err(e) if e.is_data() => bail!(BadConfig, "this is no tokenizer that phiquant understands: {e}"),
            Err(e) => bail!(BadConfig, "this is not JSON: {e}"),
        }
    }
}

/// Tokens and ids in the file's order; `None` for a model of another kind, which has a list there.
pub(super) struct Vocab(pub Option<Vec<(String, u64)>>);

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("tokens with their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut tokens = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    tokens.push(pair);
                }
                Ok(Vocab(Some(tokens)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocab(None))
            }
        }
        deserializer.deserialize_any(Tokens)
    }
}

/// A merge as GGUF has it: two halves with a space between. tokenizer.json has texts or pairs; a space within a half is
/// spelled as the byte's letter, Ġ.
pub(super) struct Merge(pub String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Halves;
        impl<'de> Visitor<'de> for Halves {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("two texts, or one with a space between them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
                Ok(Merge(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                let mut half = || -> Result<String, A::Error> {
                    let half: Option<String> = seq.next_element()?;
                    half.ok_or_else(|| Error::custom("a merge has two halves"))
                };
                let (mut left, right) = (half()?, half()?);
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(Error::custom("a merge has two halves"));
                }
                if left.contains(' ') {
                    left = left.replace(' ', "\u{120}");
                }
                left.push(' ');
                left.extend(right.chars().map(|c| if c == ' ' { '\u{120}' } else { c }));
                Ok(Merge(left))
            }
        }
        deserializer.deserialize_any(Halves)
    }
}
