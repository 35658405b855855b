//! Byte-level BPE, GGUF's model "gpt2": Phi-4, Phi-4-mini and the demo checkpoint.

use super::file::File;
use super::{Sources, Vocabulary, Written, WrittenModel, kind, post_processor, split, strips_after};
use crate::bail;
use crate::error::Result;
use crate::formats::gguf::{Metadata, Value, find};
use serde_json::{Value as Json, json};
use std::collections::HashSet;

/// model, pre, tokens, token_type and merges for a tokenizer.json; its vocabulary and merges move out of it.
pub(super) fn metadata(sources: &Sources, tokenizer: &mut File, config: Option<&Json>) -> Result<Metadata> {
    let model = &mut tokenizer.model;
    let kind = model.kind.as_deref().unwrap_or("BPE");
    let Some(vocab) = model.vocab.0.take().filter(|_| kind == "BPE") else {
        bail!(Unsupported, "the tokenizer is of the kind {kind}; byte-level BPE and SentencePiece are supported");
    };
    if let Some(normalizer) = &tokenizer.normalizer {
        bail!(Unsupported, "the tokenizer normalizes text ({}), which GGUF cannot say", normalizer["type"]);
    }
    let mut pre = split::name(tokenizer.pre_tokenizer.as_ref())?;
    // The same rule, and a name of its own: the converter's hash sees Phi-2's tokens for runs of spaces.
    if pre == "gpt-2" && is_codegen(sources, config)? {
        pre = "phi-2";
    }

    let filler = |id: usize| (format!("[PAD{id}]"), kind::UNUSED);
    let mut tokens: Vec<(String, i32)> = (0..sources.vocab).map(filler).collect();
    let mut put = |token: String, id: u64, kind: i32| -> Result<()> {
        match usize::try_from(id).ok().and_then(|id| tokens.get_mut(id)) {
            Some(slot) => *slot = (token, kind),
            None => bail!(BadConfig, "the token {token:?} has the id {id}, and vocab_size is {}", sources.vocab),
        }
        Ok(())
    };
    for (token, id) in vocab {
        put(token, id, kind::NORMAL)?;
    }
    for (content, id, special) in added(tokenizer, config) {
        if special || looks_special(content) {
            put(content.to_owned(), id, kind::CONTROL)?;
        } else {
            // User-defined tokens are matched in raw text: SentencePiece's mark for a space becomes one.
            put(content.replace('\u{2581}', " "), id, kind::USER_DEFINED)?;
        }
    }

    let (tokens, kinds): (Vec<String>, Vec<i32>) = tokens.into_iter().unzip();
    let mut keys: Metadata = vec![
        ("tokenizer.ggml.model".into(), Value::String("gpt2".into())),
        ("tokenizer.ggml.pre".into(), Value::String(pre.into())),
        ("tokenizer.ggml.tokens".into(), Value::Strings(tokens)),
        ("tokenizer.ggml.token_type".into(), Value::I32s(kinds)),
    ];
    let merges: Vec<String> = std::mem::take(&mut tokenizer.model.merges).into_iter().map(|merge| merge.0).collect();
    if !merges.is_empty() {
        keys.push(("tokenizer.ggml.merges".into(), Value::Strings(merges)));
    }
    Ok(keys)
}

/// Whether this is the tokenizer of Phi-1, Phi-1.5 and Phi-2.
fn is_codegen(sources: &Sources, config: Option<&Json>) -> Result<bool> {
    let class = config.and_then(|config| config.get("tokenizer_class")).and_then(Json::as_str);
    let model = sources.json("config.json")?;
    let kind = model.as_ref().and_then(|model| model.get("model_type")).and_then(Json::as_str);
    Ok(class.is_some_and(|class| class.starts_with("CodeGen"))
        || kind.is_some_and(|kind| ["phi", "phi-msft"].contains(&kind)))
}

/// Added tokens: content, id, whether special. tokenizer.json's, and what only tokenizer_config.json has.
fn added<'a>(tokenizer: &'a File, config: Option<&'a Json>) -> Vec<(&'a str, u64, bool)> {
    let mut list: Vec<_> =
        tokenizer.added_tokens.iter().map(|token| (token.content.as_str(), token.id, token.special)).collect();
    let known: HashSet<&str> = list.iter().map(|(content, ..)| *content).collect();
    let decoder = config.and_then(|config| config.get("added_tokens_decoder")).and_then(Json::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        if let (Some(content), Ok(id)) = (token["content"].as_str(), id.parse())
            && !known.contains(content)
        {
            list.push((content, id, token["special"].as_bool().unwrap_or(false)));
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

/// tokenizer.json for a GGUF's keys.
pub(super) fn tokenizer(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<String> {
    let Some(pre) = find(metadata, "tokenizer.ggml.pre").and_then(Value::as_str) else {
        bail!(Unsupported, "tokenizer.ggml.pre is not there: the file was made by an old converter, make it anew");
    };
    let mut merges = Vec::new();
    for merge in find(metadata, "tokenizer.ggml.merges").and_then(Value::as_strings).unwrap_or_default() {
        // A half may begin with a space in files by others: the one between the halves is the first after a character.
        let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let Some(at) = space else { bail!(BadHeader, "the merge {merge:?} is not two texts with a space between") };
        merges.push((&merge[..at], &merge[at + 1..]));
    }
    let strips = strips_after(metadata, vocabulary);
    let written = Written {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: vocabulary.added(false, &strips),
        normalizer: Json::Null,
        pre_tokenizer: split::pre_tokenizer(pre)?,
        post_processor: post_processor(metadata, vocabulary, false),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: WrittenModel {
            r#type: "BPE",
            dropout: (),
            unk_token: None,
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: vocabulary.ids().into(),
            merges,
        },
    };
    written.text()
}
