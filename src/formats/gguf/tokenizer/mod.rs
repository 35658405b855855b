//! One tokenizer, two spellings: Hugging Face's files (tokenizer.json, tokenizer_config.json, tokenizer.model) and GGUF's
//! `tokenizer.*` keys. This is the one place that converts between them.
//!
//! Towards GGUF the keys, values and order are those of convert_hf_to_gguf.py for Phi3ForCausalLM (llama.cpp as in
//! llama-cpp-python 0.3.36). `docs/formats.md` lists where it is more lenient.

mod bpe;
mod file;
mod proto;
mod special;
mod split;
mod spm;

use super::value::{Metadata, Value, find};
use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use file::File;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashMap};

/// Token types, as SentencePiece and `llama_token_type` number them.
mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// What a Hugging Face checkpoint says of its tokenizer.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// config.json, tokenizer.json, tokenizer_config.json, chat_template.jinja …
    pub texts: &'a BTreeMap<String, String>,
    /// tokenizer.model.
    pub blobs: &'a BTreeMap<String, Vec<u8>>,
    /// Rows of the embedding: ids without a token get a filler.
    pub vocab: usize,
}

impl Sources<'_> {
    /// A JSON file, if it is there.
    fn json(&self, name: &str) -> Result<Option<Json>> {
        let Some(text) = self.texts.get(name) else { return Ok(None) };
        match serde_json::from_str(text) {
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(Error::new(ErrorKind::BadConfig, format!("this is not JSON: {e}")).in_file(name)),
        }
    }
}

/// The `tokenizer.*` keys for a Hugging Face checkpoint.
///
/// Fails with `MissingFile` where there is no tokenizer, `Unsupported` where llama.cpp has no name for its rules, and
/// `BadConfig`.
pub fn metadata(sources: &Sources) -> Result<Metadata> {
    let here = |e: Error| e.in_file("tokenizer.json");
    let mut tokenizer = sources.texts.get("tokenizer.json").map(|text| File::parse(text).map_err(here)).transpose()?;
    let config = sources.json("tokenizer_config.json")?;
    let class = config.as_ref().and_then(|config| config.get("tokenizer_class")).and_then(Json::as_str);
    // The converter goes by the class alone; files by other tools name other classes, and their content tells.
    let mut keys = match &mut tokenizer {
        Some(tokenizer) if class == Some("GPT2Tokenizer") => {
            bpe::metadata(sources, tokenizer, config.as_ref()).map_err(here)?
        }
        tokenizer if sources.blobs.contains_key("tokenizer.model") => {
            spm::metadata(sources, tokenizer.as_ref(), config.as_ref())?
        }
        Some(tokenizer) if tokenizer.model.byte_fallback => {
            spm::metadata_from_json(sources, tokenizer, config.as_ref()).map_err(here)?
        }
        Some(tokenizer) => bpe::metadata(sources, tokenizer, config.as_ref()).map_err(here)?,
        None => {
            let what =
                "the checkpoint has neither tokenizer.json nor tokenizer.model; without one a GGUF file is of no use";
            return Err(Error::new(ErrorKind::MissingFile, what).in_file("tokenizer.json"));
        }
    };
    let byte_level = find(&keys, "tokenizer.ggml.model").and_then(Value::as_str) == Some("gpt2");
    keys.extend(special::metadata(sources, tokenizer.as_ref(), config, byte_level)?);
    Ok(keys)
}

/// tokenizer.json and tokenizer_config.json for a GGUF's metadata: they encode to the same ids.
///
/// A file without a tokenizer gives none. Fails with `Unsupported` where the tokenizer is of another kind, and `BadHeader`.
pub fn texts(metadata: &Metadata) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    let Some(model) = find(metadata, "tokenizer.ggml.model").and_then(Value::as_str) else { return Ok(texts) };
    if model == "no_vocab" || model == "none" {
        return Ok(texts);
    }
    let vocabulary = Vocabulary::read(metadata)?;
    let tokenizer = match model {
        "gpt2" => bpe::tokenizer(metadata, &vocabulary)?,
        "llama" => spm::tokenizer(metadata, &vocabulary)?,
        other => bail!(
            Unsupported,
            "the tokenizer is of the kind {other:?}; gpt2 (byte-level BPE) and llama (SentencePiece) are supported"
        ),
    };
    texts.insert("tokenizer.json".into(), tokenizer);
    texts.insert("tokenizer_config.json".into(), special::config(metadata, &vocabulary, model).to_string());
    Ok(texts)
}

/// A GGUF's tokens, checked against each other.
struct Vocabulary<'a> {
    tokens: &'a [String],
    kinds: Vec<i32>,
    scores: Option<&'a [f32]>,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self> {
        let Some(tokens) = find(metadata, "tokenizer.ggml.tokens").and_then(Value::as_strings) else {
            bail!(BadHeader, "tokenizer.ggml.tokens is not there, or not a list of strings");
        };
        let kinds = match find(metadata, "tokenizer.ggml.token_type") {
            Some(Value::I32s(kinds)) => kinds.clone(),
            None => vec![kind::NORMAL; tokens.len()],
            Some(_) => bail!(BadHeader, "tokenizer.ggml.token_type is not a list of 32-bit numbers"),
        };
        let scores = match find(metadata, "tokenizer.ggml.scores") {
            Some(Value::F32s(scores)) => Some(scores.as_slice()),
            None => None,
            Some(_) => bail!(BadHeader, "tokenizer.ggml.scores is not a list of 32-bit floats"),
        };
        if kinds.len() != tokens.len() || scores.is_some_and(|scores| scores.len() != tokens.len()) {
            bail!(BadHeader, "the tokenizer's lists of tokens, types and scores differ in length");
        }
        Ok(Self { tokens, kinds, scores })
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &'a str, i32)> {
        self.tokens.iter().zip(&self.kinds).zip(0u32..).map(|((token, kind), id)| (id, token.as_str(), *kind))
    }

    fn token(&self, id: u64) -> Option<&'a str> {
        self.tokens.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// Ids by token: every token but fillers; of two of a name the first. Control and user-defined tokens are in it too, so
    /// that an added token finds its id there, whatever gaps there are.
    fn ids(&self) -> HashMap<&'a str, u32> {
        let mut ids = HashMap::with_capacity(self.tokens.len());
        for (id, token, _) in self.iter().filter(|(.., kind)| *kind != kind::UNUSED) {
            ids.entry(token).or_insert(id);
        }
        ids
    }

    /// tokenizer.json's added tokens: what is matched before any splitting. `strips` says after which tokens white space
    /// is swallowed.
    fn added(&self, normalized: bool, strips: &dyn Fn(&str) -> bool) -> Vec<Json> {
        let added = self.iter().filter(|(_, token, kind)| {
            matches!(*kind, kind::CONTROL | kind::USER_DEFINED | kind::UNKNOWN) && !token.is_empty()
        });
        added
            .map(|(id, token, kind)| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": strips(token),
                    "normalized": normalized && kind == kind::USER_DEFINED, "special": kind != kind::USER_DEFINED,
                })
            })
            .collect()
    }
}

/// tokenizer.json as it is written: the vocabulary and the merges without a tree of values between.
#[derive(serde::Serialize)]
struct Written<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<Json>,
    normalizer: Json,
    pre_tokenizer: Json,
    post_processor: Json,
    decoder: Json,
    model: WrittenModel<'a>,
}

#[derive(serde::Serialize)]
struct WrittenModel<'a> {
    r#type: &'static str,
    dropout: (),
    unk_token: Option<&'a str>,
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Ids<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

/// Ids by token, in the order of ids.
struct Ids<'a>(Vec<(&'a str, u32)>);

impl<'a> From<HashMap<&'a str, u32>> for Ids<'a> {
    fn from(ids: HashMap<&'a str, u32>) -> Self {
        let mut list: Vec<_> = ids.into_iter().collect();
        list.sort_unstable_by_key(|(_, id)| *id);
        Self(list)
    }
}

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (token, id) in &self.0 {
            map.serialize_entry(token, id)?;
        }
        map.end()
    }
}

impl Written<'_> {
    fn text(&self) -> Result<String> {
        match serde_json::to_string(self) {
            Ok(text) => Ok(text),
            Err(e) => bail!(Internal, "the tokenizer cannot be written as JSON: {e}"),
        }
    }
}

/// After which tokens white space is swallowed. GGUF has no key for it, and Phi-3's tokenizer does it after these:
/// llama.cpp (llama-vocab.cpp) goes by the model's name; a placeholder that only Phi-3's vocabulary has tells the rest.
fn strips_after(metadata: &Metadata, vocabulary: &Vocabulary) -> impl Fn(&str) -> bool {
    let name = find(metadata, "general.name").and_then(Value::as_str).unwrap_or("").to_lowercase();
    let phi3 = name.contains("phi-3")
        || name.contains("phi3")
        || (vocabulary.scores.is_some() && vocabulary.tokens.iter().any(|token| token == "<|placeholder1|>"));
    move |token: &str| phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&token)
}

/// A post-processor that puts `bos` before every text, or none.
fn post_processor(metadata: &Metadata, vocabulary: &Vocabulary, default: bool) -> Json {
    let adds = find(metadata, "tokenizer.ggml.add_bos_token").and_then(Value::as_bool).unwrap_or(default);
    let id = find(metadata, "tokenizer.ggml.bos_token_id").and_then(Value::as_u64);
    let Some((id, bos)) = id.and_then(|id| Some((id, vocabulary.token(id)?))).filter(|_| adds) else {
        return Json::Null;
    };
    let first = json!({"SpecialToken": {"id": bos, "type_id": 0}});
    let second = json!({"SpecialToken": {"id": bos, "type_id": 1}});
    let (a, b) = (json!({"Sequence": {"id": "A", "type_id": 0}}), json!({"Sequence": {"id": "B", "type_id": 1}}));
    json!({
        "type": "TemplateProcessing", "single": [first, a], "pair": [first, a, second, b],
        "special_tokens": { bos: {"id": bos, "ids": [id], "tokens": [bos]} },
    })
}
