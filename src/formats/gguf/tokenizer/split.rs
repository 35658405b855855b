//! The rules by which byte-level tokenizers split text before merging, and llama.cpp's names for them.

use crate::bail;
use crate::error::Result;
use serde_json::{Value as Json, json};

/// GPT-4o's rule, which Phi-4-mini has.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GPT-4's rule as Phi-4's tokenizer.json spells it …
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// … and as tiktoken does, with possessive quantifiers: the same splits.
const CL100K_TIKTOKEN: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

/// GPT-2's rule, which the ByteLevel pre-tokenizer has built in.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// llama.cpp's name for a regular expression. The converter knows a tokenizer by a hash over the ids of a test text; these
/// are the names that it gives to Phi-4-mini, to Phi-4 (whose ids equal DBRX's) and to GPT-2.
const NAMES: &[(&str, &str)] = &[(O200K, "gpt-4o"), (CL100K, "dbrx"), (CL100K_TIKTOKEN, "dbrx"), (GPT2, "gpt-2")];

/// Names under which llama.cpp has the same rule.
const RULES: &[(&str, &[&str])] = &[
    (O200K, &["gpt-4o", "llama4", "kanana2", "talkie"]),
    (CL100K, &["dbrx", "smaug-bpe", "llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"]),
    (GPT2, &["gpt-2", "phi-2", "jina-es", "jina-de", "mpt", "olmo", "jais"]),
];

/// llama.cpp's name for tokenizer.json's pre-tokenizer.
pub(super) fn name(pre_tokenizer: Option<&Json>) -> Result<&'static str> {
    let pre = pre_tokenizer.filter(|pre| !pre.is_null());
    let Some(pre) = pre else {
        bail!(Unsupported, "the tokenizer does not split text into bytes and words; llama.cpp has no name for that");
    };
    let steps: Vec<&Json> = match pre.get("pretokenizers").and_then(Json::as_array) {
        Some(steps) => steps.iter().collect(),
        None => vec![pre],
    };
    let kind = |step: &Json| step.get("type").and_then(Json::as_str).unwrap_or("?").to_owned();
    let flag = |step: &Json, field: &str, default: bool| step.get(field).and_then(Json::as_bool).unwrap_or(default);
    let byte_level = |step: &Json| kind(step) == "ByteLevel" && !flag(step, "add_prefix_space", true);
    match steps[..] {
        [bytes] if byte_level(bytes) && flag(bytes, "use_regex", true) => Ok("gpt-2"),
        [split, bytes] if kind(split) == "Split" && byte_level(bytes) && !flag(bytes, "use_regex", true) => {
            let isolated = split.get("behavior").and_then(Json::as_str) == Some("Isolated");
            let regex = split.pointer("/pattern/Regex").and_then(Json::as_str).unwrap_or("");
            let known = NAMES.iter().find(|(rule, _)| *rule == regex);
            match known {
                Some((_, name)) if isolated && !flag(split, "invert", false) => Ok(name),
                _ => bail!(
                    Unsupported,
                    "llama.cpp has no name for the rule by which this tokenizer splits text: {regex:?}"
                ),
            }
        }
        _ => {
            let steps: Vec<String> = steps.iter().map(|step| kind(step)).collect();
            bail!(Unsupported, "llama.cpp has no name for this tokenizer's pre-tokenizer, {}", steps.join(" then "))
        }
    }
}

/// tokenizer.json's pre-tokenizer for llama.cpp's name.
pub(super) fn pre_tokenizer(name: &str) -> Result<Json> {
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let rule = RULES.iter().find(|(_, names)| names.contains(&name)).map(|(rule, _)| *rule);
    match rule {
        Some(GPT2) => Ok(bytes(true)),
        Some(regex) => {
            let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
            Ok(json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]}))
        }
        None => {
            bail!(Unsupported, "the tokenizer splits text by llama.cpp's rule {name:?}, which phiquant does not know")
        }
    }
}
