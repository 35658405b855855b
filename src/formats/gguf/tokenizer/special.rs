//! Special token ids, flags and the chat template: what gguf-py's `SpecialVocab` finds in the files beside a model.

use super::file::File;
use super::{Sources, Vocabulary};
use crate::error::Result;
use crate::formats::gguf::{Metadata, Value, find};
use serde_json::{Map, Value as Json, json};

/// In the order in which they are written. `cls` is looked up but has no key.
const ROLES: &[&str] = &["bos", "eos", "unk", "sep", "pad", "cls", "mask"];

/// GGUF's names for special tokens (`seperator` is the format's own spelling).
fn id_key(role: &str) -> Option<&'static str> {
    Some(match role {
        "bos" => "tokenizer.ggml.bos_token_id",
        "eos" => "tokenizer.ggml.eos_token_id",
        "unk" => "tokenizer.ggml.unknown_token_id",
        "sep" => "tokenizer.ggml.seperator_token_id",
        "pad" => "tokenizer.ggml.padding_token_id",
        "mask" => "tokenizer.ggml.mask_token_id",
        "eot" => "tokenizer.ggml.eot_token_id",
        _ => return None,
    })
}

/// What the files say, in the order in which it was found.
#[derive(Default)]
struct Found {
    roles: Vec<&'static str>,
    ids: Vec<(&'static str, u64)>,
    adds: Vec<(&'static str, bool)>,
}

impl Found {
    fn set_adds(&mut self, role: &'static str, flag: bool, replace: bool) {
        match self.adds.iter_mut().find(|(known, _)| *known == role) {
            Some((_, old)) if replace => *old = flag,
            Some(_) => {}
            None => self.adds.push((role, flag)),
        }
    }

    /// The first file that names an id wins.
    fn set_id(&mut self, role: &'static str, id: Option<u64>, vocab: Option<usize>) {
        let Some(id) = id.filter(|&id| vocab.is_none_or(|vocab| id < vocab as u64)) else { return };
        if !self.ids.iter().any(|(known, _)| *known == role) {
            self.ids.push((role, id));
        }
    }
}

/// ids, add_*_token and chat_template. `byte_level`: as for model "gpt2", whose ids the converter does not check against
/// the vocabulary.
pub(super) fn metadata(
    sources: &Sources,
    tokenizer: Option<&File>,
    config: Option<Json>,
    byte_level: bool,
) -> Result<Metadata> {
    let vocab = (!byte_level).then_some(sources.vocab);
    let mut found = Found { roles: ROLES.to_vec(), ..Found::default() };
    let mut config = match config {
        Some(Json::Object(config)) => Some(config),
        _ => None,
    };
    if let Some(tokenizer) = tokenizer {
        read_post_processor(tokenizer, config.as_mut(), &mut found);
    }
    let mut keys = Metadata::new();
    let mut template = None;
    if let Some(config) = &config {
        template = chat_template(sources, config)?;
        let added = tokenizer.map_or(&[][..], |tokenizer| &tokenizer.added_tokens);
        for role in found.roles.clone() {
            if let Some(flag) = config.get(&format!("add_{role}_token")).and_then(Json::as_bool) {
                found.set_adds(role, flag, false);
            }
            let content = config.get(&format!("{role}_token")).and_then(content_of);
            let token = content.and_then(|content| added.iter().find(|token| token.content == content));
            found.set_id(role, token.map(|token| token.id), vocab);
        }
    }
    if let Some(model) = sources.json("config.json")? {
        for role in found.roles.clone() {
            found.set_id(role, model.get(format!("{role}_token_id")).and_then(Json::as_u64), vocab);
        }
    }
    for (role, id) in &found.ids {
        if let (Some(key), Ok(id)) = (id_key(role), u32::try_from(*id)) {
            keys.push((key.into(), Value::U32(id)));
        }
    }
    for (role, flag) in &found.adds {
        if ["bos", "eos", "sep"].contains(role) {
            keys.push((format!("tokenizer.ggml.add_{role}_token"), Value::Bool(*flag)));
        }
    }
    if let Some(template) = template {
        write_template(&template, &mut keys);
    }
    Ok(keys)
}

/// A token's text: a string, or an object with `content`.
fn content_of(entry: &Json) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("content")?.as_str())
}

/// Python's truth of a token entry: a text that is not empty, or an object that is not.
fn present(config: &Map<String, Json>, field: &str) -> Option<Json> {
    let value = config.get(field)?;
    let empty = match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Object(map) => map.is_empty(),
        _ => false,
    };
    (!empty).then(|| value.clone())
}

/// tokenizer.json's post-processor says whether tokens are put before and after a text.
fn read_post_processor(tokenizer: &File, mut config: Option<&mut Map<String, Json>>, found: &mut Found) {
    if let Some(config) = config.as_deref_mut() {
        for (role, stand_in) in [("bos_token", "cls_token"), ("eos_token", "sep_token")] {
            if present(config, role).is_none()
                && let Some(other) = present(config, stand_in)
            {
                config.insert(role.into(), other);
            }
        }
    }
    let Some(processor) = &tokenizer.post_processor else { return };
    let alone = vec![processor.clone()];
    let processors = processor.get("processors").and_then(Json::as_array).unwrap_or(&alone);
    for processor in processors {
        match processor["type"].as_str() {
            Some("ByteLevel") => {
                found.set_adds("bos", false, false);
                found.set_adds("eos", false, false);
            }
            Some("TemplateProcessing") => read_template(processor, config.as_deref_mut(), found),
            _ => {}
        }
    }
}

/// The id of a template's step, if it is a special token, or a text of that kind (`Sequence`).
fn step(step: Option<&Json>, kind: &str) -> Option<String> {
    step?.get(kind)?.get("id")?.as_str().map(str::to_owned)
}

/// Whether tokenizer_config.json's token is this text.
fn is(config: Option<&Map<String, Json>>, field: &str, text: &str) -> bool {
    config.and_then(|config| present(config, field)).is_some_and(|token| token == text)
}

/// Templates of one text and of two: tokens before, between and after.
fn read_template(processor: &Json, mut config: Option<&mut Map<String, Json>>, found: &mut Found) {
    let none = Vec::new();
    let single = processor["single"].as_array().unwrap_or(&none);
    let (mut first, mut last) = (None, None);
    if single.len() > 1 {
        first = step(single.first(), "SpecialToken");
        last = step(single.last(), "SpecialToken");
    }
    if let Some(first) = &first {
        let adds = match config.as_deref_mut() {
            None => true,
            Some(config) => {
                if !is(Some(config), "bos_token", first) && !is(Some(config), "cls_token", first) {
                    for field in ["bos_token", "cls_token"] {
                        if present(config, field).is_none() {
                            config.insert(field.into(), json!(first));
                        }
                    }
                }
                is(Some(config), "bos_token", first) || is(Some(config), "cls_token", first)
            }
        };
        found.set_adds("bos", adds, true);
    }
    if let Some(last) = &last {
        if let Some(config) = config.as_deref_mut()
            && !is(Some(config), "eos_token", last)
        {
            // What was called the end before is then the end of a turn.
            if let Some(old) = config.get("eos_token").cloned() {
                config.insert("eot_token".into(), old);
            }
            found.roles.push("eot");
            config.insert("eos_token".into(), json!(last));
        }
        found.set_adds("eos", true, true);
    }

    let mut pair = processor["pair"].as_array().unwrap_or(&none).as_slice();
    if first.is_some() && step(pair.first(), "SpecialToken") == first {
        pair = &pair[1..];
    }
    if last.is_some() && step(pair.last(), "SpecialToken") == last {
        pair = &pair[..pair.len() - 1];
    }
    let ends = (step(pair.first(), "Sequence"), step(pair.last(), "Sequence"));
    if ends != (Some("A".into()), Some("B".into())) || pair.len() < 3 {
        return;
    }
    let between = &pair[1..pair.len() - 1];
    let separates = |at: usize| {
        let token = step(between.get(at), "SpecialToken");
        token.is_some_and(|token| ["sep_token", "eos_token"].iter().any(|field| is(config.as_deref(), field, &token)))
    };
    let adds = (separates(0) && last.is_none()) || (between.len() == 2 && separates(1));
    found.set_adds("sep", adds, true);
    if let Some(config) = config
        && adds
        && present(config, "sep_token").is_none()
        && let Some(eos) = config.get("eos_token").cloned()
    {
        config.insert("sep_token".into(), eos);
    }
}

/// The chat template: tokenizer_config.json's, else the file beside it.
fn chat_template(sources: &Sources, config: &Map<String, Json>) -> Result<Option<Json>> {
    if let Some(template) = config.get("chat_template") {
        return Ok(Some(template.clone()).filter(|template| template.is_string() || template.is_array()));
    }
    if let Some(text) = sources.texts.get("chat_template.jinja") {
        return Ok(Some(json!(text)));
    }
    let file = sources.json("chat_template.json")?;
    Ok(file
        .and_then(|file| file.get("chat_template").cloned())
        .filter(|template| template.is_string() || template.is_array()))
}

/// One template, or several by name, of which `default` is the one.
fn write_template(template: &Json, keys: &mut Metadata) {
    let mut default = template.as_str();
    let mut names = Vec::new();
    for choice in template.as_array().into_iter().flatten() {
        let name = choice["name"].as_str().unwrap_or("");
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        match choice["template"].as_str() {
            Some(text) if name == "default" => default = Some(text),
            Some(text) if !name.is_empty() => {
                keys.push((format!("tokenizer.chat_template.{name}"), Value::String(text.into())));
                names.push(name);
            }
            _ => {}
        }
    }
    if !names.is_empty() {
        keys.push(("tokenizer.chat_templates".into(), Value::Strings(names)));
    }
    if let Some(text) = default {
        keys.push(("tokenizer.chat_template".into(), Value::String(text.into())));
    }
}

/// tokenizer_config.json for a GGUF's keys.
pub(super) fn config(metadata: &Metadata, vocabulary: &Vocabulary, model: &str) -> Json {
    let mut config = Map::new();
    for role in ROLES {
        let id = id_key(role).and_then(|key| find(metadata, key)).and_then(Value::as_u64);
        if let Some(token) = id.and_then(|id| vocabulary.token(id)) {
            config.insert(format!("{role}_token"), json!(token));
        }
        if let Some(flag) = find(metadata, &format!("tokenizer.ggml.add_{role}_token")).and_then(Value::as_bool) {
            config.insert(format!("add_{role}_token"), json!(flag));
        }
    }
    if let Some(template) = find(metadata, "tokenizer.chat_template").and_then(Value::as_str) {
        config.insert("chat_template".into(), json!(template));
    }
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    let class = if model == "gpt2" { "GPT2Tokenizer" } else { "LlamaTokenizer" };
    config.insert("tokenizer_class".into(), json!(class));
    Json::Object(config)
}
