//! Text in the native build: ids in and out of strings, and the chat template.
//!
//! The browser does the same with `www/text` and two small JavaScript libraries, because these crates would cost 0.7 MB
//! of wasm. `tests/fixtures/text` is the corpus on which both must agree, with each other and with Python's libraries.

mod chat;
mod stream;

pub use chat::Message;
pub use stream::{Detokenizer, StopStrings};

use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use chat::Template;
use serde_json::Value;
use std::collections::BTreeMap;
use tokenizers::Tokenizer;

/// A checkpoint's tokenizer and chat template.
pub struct Text {
    tokenizer: Tokenizer,
    template: Option<Template>,
}

impl Text {
    /// From a checkpoint's texts by name: tokenizer.json; tokenizer_config.json, special_tokens_map.json and
    /// chat_template.jinja or chat_template.json where they are there.
    ///
    /// Fails with `MissingFile`, `BadConfig`.
    pub fn new(texts: &BTreeMap<String, String>) -> Result<Self> {
        let Some(json) = texts.get("tokenizer.json") else {
            let what = "the checkpoint has no tokenizer.json, so text cannot be turned into tokens";
            return Err(Error::new(ErrorKind::MissingFile, what).in_file("tokenizer.json"));
        };
        let mut tokenizer: Tokenizer = json.parse().map_err(|error: tokenizers::Error| {
            let what = format!("the tokenizer cannot be used: {error}");
            Error::new(ErrorKind::BadConfig, what).in_file("tokenizer.json")
        })?;
        // What training and batching left in the file does not concern a prompt.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let config = parse(texts, "tokenizer_config.json")?;
        let special = parse(texts, "special_tokens_map.json")?;
        let names = ["bos_token", "eos_token", "pad_token", "unk_token"];
        let token = |name: &str| content(&config[name]).or_else(|| content(&special[name])).map(str::to_owned);
        let tokens = names.iter().filter_map(|&name| Some((name, token(name)?))).collect();
        let beside = parse(texts, "chat_template.json")?;
        let source = match texts.get("chat_template.jinja") {
            Some(source) => Some(source.as_str()),
            None => template(&config["chat_template"]).or_else(|| template(&beside["chat_template"])),
        };
        let template = source.map(|source| Template::new(source, tokens)).transpose()?;
        Ok(Self { tokenizer, template })
    }

    /// `special`: add the tokens that the model expects around a text (a beginning token, where it has one).
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        match self.tokenizer.encode_fast(text, special) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => bail!(BadConfig, "the text cannot be turned into tokens: {error}"),
        }
    }

    /// Special tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match self.tokenizer.decode(ids, true) {
            Ok(text) => Ok(text),
            Err(error) => bail!(BadConfig, "the tokens cannot be turned into text: {error}"),
        }
    }

    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// A conversation as the model was trained to read it; `answer`: up to where its answer begins.
    ///
    /// Fails with `Unsupported` without a template, with `BadConfig` where the template fails or refuses.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        match &self.template {
            Some(template) => template.render(messages, answer),
            None => bail!(Unsupported, "this checkpoint has no chat template; give the prompt as it is (--raw)"),
        }
    }

    /// Ids of a conversation. The template writes the special tokens itself.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.encode(&self.render(messages, true)?, false)
    }
}

fn parse(texts: &BTreeMap<String, String>, name: &str) -> Result<Value> {
    let Some(text) = texts.get(name) else { return Ok(Value::Null) };
    serde_json::from_str(text)
        .map_err(|error| Error::new(ErrorKind::BadConfig, format!("this is not JSON: {error}")).in_file(name))
}

/// A special token is a string, or an object with its content.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// One template, or the one called "default" of several.
fn template(value: &Value) -> Option<&str> {
    if let Some(entries) = value.as_array() {
        let default = entries.iter().find(|entry| entry["name"] == "default").or(entries.first())?;
        return default["template"].as_str();
    }
    value.as_str()
}
