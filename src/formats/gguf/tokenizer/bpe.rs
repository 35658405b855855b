//! Byte-level BPE, GGUF's model "gpt2": Phi-4, Phi-4-mini and the demo checkpoint.

use super::{Sources, Vocabulary, kind, post_processor, split, strips_after};
use crate::bail;
use crate::error::Result;
use crate::formats::gguf::{Metadata, Value, find};
use serde_json::{Value as Json, json};
use std::collections::HashMap;

/// model, pre, tokens, token_type and merges for a tokenizer.json.
pub(super) fn metadata(sources: &Sources, tokenizer: &Json, config: Option<&Json>) -> Result<Metadata> {
    let model = &tokenizer["model"];
    if model.get("type").and_then(Json::as_str).is_some_and(|kind| kind != "BPE") || !model["vocab"].is_object() {
        bail!(Unsupported, "the tokenizer is a {}; byte-level BPE and SentencePiece are supported", model["type"]);
    }
    if tokenizer.get("normalizer").is_some_and(|normalizer| !normalizer.is_null()) {
        bail!(
            Unsupported,
            "the tokenizer normalizes text ({}), which GGUF cannot say",
            tokenizer["normalizer"]["type"]
        );
    }
    let pre = split::name(tokenizer.get("pre_tokenizer"))?;

    let filler = |id: usize| (format!("[PAD{id}]"), kind::UNUSED);
    let mut tokens: Vec<(String, i32)> = (0..sources.vocab).map(filler).collect();
    let mut put = |token: &str, id: Option<u64>, kind: i32| -> Result<()> {
        let Some(id) = id else { bail!(BadConfig, "the token {token:?} has no id") };
        match usize::try_from(id).ok().and_then(|id| tokens.get_mut(id)) {
            Some(slot) => *slot = (token.to_owned(), kind),
            None => bail!(BadConfig, "the token {token:?} has the id {id}, and vocab_size is {}", sources.vocab),
        }
        Ok(())
    };
    for (token, id) in model["vocab"].as_object().into_iter().flatten() {
        put(token, id.as_u64(), kind::NORMAL)?;
    }
    for (content, (id, special)) in added(tokenizer, config) {
        if special || looks_special(&content) {
            put(&content, Some(id), kind::CONTROL)?;
        } else {
            // User-defined tokens are matched in raw text: SentencePiece's mark for a space becomes one.
            put(&content.replace('\u{2581}', " "), Some(id), kind::USER_DEFINED)?;
        }
    }

    let (tokens, kinds): (Vec<String>, Vec<i32>) = tokens.into_iter().unzip();
    let mut keys: Metadata = vec![
        ("tokenizer.ggml.model".into(), Value::String("gpt2".into())),
        ("tokenizer.ggml.pre".into(), Value::String(pre.into())),
        ("tokenizer.ggml.tokens".into(), Value::Strings(tokens)),
        ("tokenizer.ggml.token_type".into(), Value::I32s(kinds)),
    ];
    let merges = merges(&model["merges"])?;
    if !merges.is_empty() {
        keys.push(("tokenizer.ggml.merges".into(), Value::Strings(merges)));
    }
    Ok(keys)
}

/// Added tokens: content, id, whether special. tokenizer.json's, and what only tokenizer_config.json has.
fn added(tokenizer: &Json, config: Option<&Json>) -> Vec<(String, (u64, bool))> {
    let mut list = Vec::new();
    let mut seen = HashMap::new();
    let flag = |token: &Json| token.get("special").and_then(Json::as_bool).unwrap_or(false);
    for token in tokenizer.get("added_tokens").and_then(Json::as_array).into_iter().flatten() {
        if let (Some(content), Some(id)) = (token["content"].as_str(), token["id"].as_u64()) {
            seen.insert(content.to_owned(), id);
            list.push((content.to_owned(), (id, flag(token))));
        }
    }
    let decoder = config.and_then(|config| config.get("added_tokens_decoder")).and_then(Json::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        if let (Some(content), Ok(id)) = (token["content"].as_str(), id.parse())
            && !seen.contains_key(content)
        {
            list.push((content.to_owned(), (id, flag(token))));
        }
    }
    list
}

/// Added tokens that files forgot to mark as special: what the converter takes for control tokens by their look.
fn looks_special(token: &str) -> bool {
    let wrapped = |open: &str, close: &str| token.starts_with(open) && token.ends_with(close);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&token)
        || wrapped("<|", "|>")
        || wrapped("<｜", "｜>")
        || wrapped("<unused", ">")
}

/// Merges as GGUF has them: two halves with a space between. tokenizer.json has texts or pairs; a space within a half is
/// spelled as the byte's letter, Ġ.
fn merges(list: &Json) -> Result<Vec<String>> {
    let one = |merge: &Json| match merge {
        Json::String(text) => Some(text.clone()),
        Json::Array(pair) => match pair.as_slice() {
            [left, right] => {
                Some([left.as_str()?.replace(' ', "\u{120}"), right.as_str()?.replace(' ', "\u{120}")].join(" "))
            }
            _ => None,
        },
        _ => None,
    };
    let merges: Option<Vec<String>> = list.as_array().into_iter().flatten().map(one).collect();
    match merges {
        Some(merges) => Ok(merges),
        None => bail!(BadConfig, "model.merges holds something that is not a pair of texts"),
    }
}

/// tokenizer.json for a GGUF's keys.
pub(super) fn tokenizer(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Json> {
    let Some(pre) = find(metadata, "tokenizer.ggml.pre").and_then(Value::as_str) else {
        bail!(Unsupported, "tokenizer.ggml.pre is not there: the file was made by an old converter, make it anew");
    };
    let mut merges = Vec::new();
    for merge in find(metadata, "tokenizer.ggml.merges").and_then(Value::as_strings).unwrap_or_default() {
        // A half may begin with a space in files by others: the one between the halves is the first after a character.
        let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let Some(at) = space else { bail!(BadHeader, "the merge {merge:?} is not two texts with a space between") };
        merges.push(json!([merge[..at], merge[at + 1..]]));
    }
    let strips = strips_after(metadata, vocabulary);
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": vocabulary.added(false, &strips),
        "normalizer": null,
        "pre_tokenizer": split::pre_tokenizer(pre)?,
        "post_processor": post_processor(metadata, vocabulary, false),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary.map(), "merges": merges,
        },
    }))
}
