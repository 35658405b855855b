//! SentencePiece BPE, GGUF's model "llama": Phi-3 and Phi-3.5.

use super::file::File;
use super::{Sources, Vocabulary, Written, WrittenModel, kind, post_processor, proto, strips_after};
use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::{Metadata, Value, find};
use serde_json::{Value as Json, json};
use std::collections::{HashMap, HashSet};

/// SentencePiece's mark for a space.
const SPACE: &str = "\u{2581}";

/// The vocabulary as GGUF has it, by id.
struct Table {
    tokens: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<i32>,
}

impl Table {
    /// Fillers for every row of the embedding.
    fn new(vocab: usize) -> Self {
        Self {
            tokens: (0..vocab).map(|id| format!("[PAD{id}]")).collect(),
            scores: vec![-10000.0; vocab],
            kinds: vec![kind::UNUSED; vocab],
        }
    }

    fn put(&mut self, id: usize, token: &str, score: f32, kind: i32) -> Result<()> {
        if id >= self.tokens.len() {
            bail!(BadConfig, "the token {token:?} has the id {id}, and vocab_size is {}", self.tokens.len());
        }
        self.tokens[id] = token.to_owned();
        self.scores[id] = score;
        self.kinds[id] = kind;
        Ok(())
    }

    /// Tokens that the files beside the model add or rename; later ones win.
    fn put_added(&mut self, sources: &Sources, tokenizer: Option<&File>, config: Option<&Json>) -> Result<()> {
        if let Some(Json::Object(added)) = sources.json("added_tokens.json")? {
            for (token, id) in &added {
                // The converter ignores ids out of range in this file alone.
                let id = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < self.tokens.len());
                if let Some(id) = id {
                    self.put(id, token, -1000.0, kind::USER_DEFINED)?;
                }
            }
        }
        let decoder = config.and_then(|config| config.get("added_tokens_decoder")).and_then(Json::as_object);
        for (id, token) in decoder.into_iter().flatten() {
            let place = |e: Error| e.in_file("tokenizer_config.json");
            let (Ok(id), Some(content)) = (id.parse(), token["content"].as_str()) else {
                return Err(place(Error::new(ErrorKind::BadConfig, "an added token has no id or no content")));
            };
            let special = token["special"].as_bool().unwrap_or(false);
            self.put(id, content, -1000.0, if special { kind::CONTROL } else { kind::USER_DEFINED }).map_err(place)?;
        }
        for token in tokenizer.into_iter().flat_map(|tokenizer| &tokenizer.added_tokens) {
            let kind = if token.special { kind::CONTROL } else { kind::USER_DEFINED };
            let id = usize::try_from(token.id).unwrap_or(usize::MAX);
            self.put(id, &token.content, -1000.0, kind).map_err(|e| e.in_file("tokenizer.json"))?;
        }
        Ok(())
    }

    fn metadata(self) -> Metadata {
        vec![
            ("tokenizer.ggml.model".into(), Value::String("llama".into())),
            ("tokenizer.ggml.pre".into(), Value::String("default".into())),
            ("tokenizer.ggml.tokens".into(), Value::Strings(self.tokens)),
            ("tokenizer.ggml.scores".into(), Value::F32s(self.scores)),
            ("tokenizer.ggml.token_type".into(), Value::I32s(self.kinds)),
        ]
    }
}

/// model, pre, tokens, scores and token_type for a tokenizer.model.
pub(super) fn metadata(sources: &Sources, tokenizer: Option<&File>, config: Option<&Json>) -> Result<Metadata> {
    let mut table = Table::new(sources.vocab);
    let fill = |table: &mut Table| -> Result<()> {
        for (id, piece) in proto::pieces(&sources.blobs["tokenizer.model"])?.into_iter().enumerate() {
            // The converter asks SentencePiece "is it unknown, control, unused, a byte?"; user-defined falls through.
            let kind = match piece.kind {
                kind::UNKNOWN | kind::CONTROL | kind::UNUSED | kind::BYTE => piece.kind,
                _ => kind::NORMAL,
            };
            table.put(id, &piece.text, piece.score, kind)?;
        }
        Ok(())
    };
    fill(&mut table).map_err(|e| e.in_file("tokenizer.model"))?;
    table.put_added(sources, tokenizer, config)?;
    Ok(table.metadata())
}

/// The same from a tokenizer.json alone, for checkpoints saved without tokenizer.model: scores follow from the order of
/// merges, as SentencePiece's BPE trainer numbers its pieces (0, −1, −2 …); single characters come after.
pub(super) fn metadata_from_json(sources: &Sources, tokenizer: &mut File, config: Option<&Json>) -> Result<Metadata> {
    let model = &mut tokenizer.model;
    let Some(mut tokens) = model.vocab.0.take() else {
        bail!(BadConfig, "model.vocab is not an object");
    };
    tokens.sort_by_key(|(_, id)| *id);
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for merge in std::mem::take(&mut model.merges) {
        let next = ranks.len();
        ranks.entry(merge.0.replacen(' ', "", 1)).or_insert(next);
    }
    let unknown = model.unk_token.as_ref().and_then(Json::as_str);
    let added: HashSet<&str> = tokenizer.added_tokens.iter().map(|token| token.content.as_str()).collect();
    let mut table = Table::new(sources.vocab);
    let mut singles = ranks.len();
    for (token, id) in &tokens {
        let (score, kind) = if is_byte(token) {
            (0.0, kind::BYTE)
        } else if Some(token.as_str()) == unknown {
            (0.0, kind::UNKNOWN)
        } else if added.contains(token.as_str()) {
            continue;
        } else if let Some(rank) = ranks.get(token) {
            (-(*rank as f32), kind::NORMAL)
        } else {
            singles += 1;
            (-((singles - 1) as f32), kind::NORMAL)
        };
        table.put(usize::try_from(*id).unwrap_or(usize::MAX), token, score, kind)?;
    }
    table.put_added(sources, Some(tokenizer), config)?;
    Ok(table.metadata())
}

/// `<0x0A>`: the piece that stands for one byte.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// tokenizer.json for a GGUF's keys: BPE with byte fallback, as transformers converts a SentencePiece model.
pub(super) fn tokenizer(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<String> {
    let Some(scores) = vocabulary.scores else {
        bail!(BadHeader, "tokenizer.ggml.scores is not there");
    };
    let unknown = find(metadata, "tokenizer.ggml.unknown_token_id").and_then(Value::as_u64).unwrap_or(0);
    let prefix = find(metadata, "tokenizer.ggml.add_space_prefix").and_then(Value::as_bool).unwrap_or(true);
    let mark = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let normalizers = if prefix { json!([{"type": "Prepend", "prepend": SPACE}, mark]) } else { json!([mark]) };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let strips = strips_after(metadata, vocabulary);
    let ids = vocabulary.ids();
    let written = Written {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: vocabulary.added(false, &strips),
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Json::Null,
        post_processor: post_processor(metadata, vocabulary, true),
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: WrittenModel {
            r#type: "BPE",
            dropout: (),
            unk_token: vocabulary.token(unknown),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: true,
            byte_fallback: true,
            ignore_merges: false,
            merges: merges(vocabulary, scores, &ids),
            vocab: ids.into(),
        },
    };
    written.text()
}

/// Every way to put a piece together from two others, best score first: SentencePiece merges the pair whose result has
/// the highest score, so ranks by score are merges.
fn merges<'a>(vocabulary: &Vocabulary<'a>, scores: &[f32], ids: &HashMap<&'a str, u32>) -> Vec<(&'a str, &'a str)> {
    let mut found: Vec<(f32, &str, &str)> = Vec::new();
    for (id, piece, kind) in vocabulary.iter() {
        if kind != kind::NORMAL {
            continue;
        }
        let mut ways: Vec<(u32, u32, usize)> = Vec::new();
        for (at, _) in piece.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (ids.get(&piece[..at]), ids.get(&piece[at..])) {
                ways.push((*left, *right, at));
            }
        }
        ways.sort_unstable();
        found.extend(ways.iter().map(|&(.., at)| (scores[id as usize], &piece[..at], &piece[at..])));
    }
    // The order of transformers' converter: by score, then by the lengths of the halves, each descending.
    let chars = |text: &str| text.chars().count();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(chars(b.1).cmp(&chars(a.1))).then(chars(b.2).cmp(&chars(a.2))));
    found.into_iter().map(|(_, left, right)| (left, right)).collect()
}
