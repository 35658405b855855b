//! `phiquant synthesize`: a checkpoint of random weights on the disk, as transformers would save it.

use crate::output::{self, Output};
use crate::source::io;
use phiquant::phi::config::{Config, Family};
use phiquant::phi::synthetic::{self, Synthetic};
use phiquant::tensor::DType;
use phiquant::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Options {
    /// A folder; it is made.
    folder: PathBuf,
    #[arg(long, value_enum, default_value_t = Size::Small)]
    size: Size,
    #[arg(long, value_enum, default_value_t = Kind::Phi3)]
    family: Kind,
    #[arg(long, value_enum, default_value_t = Type::Bf16)]
    dtype: Type,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// 8 layers of width 512: 66 million parameters.
    Small,
    /// 16 layers of width 1536: 552 million parameters.
    Medium,
    /// 1 layer of width 256, for tests.
    Tiny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Parallel blocks, LayerNorm, biases; the feed-forward layer is four times as wide as the stream.
    Phi2,
    Phi3,
    /// Sixteen experts: ten times the weights.
    Phimoe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Type {
    F32,
    F16,
    Bf16,
}

impl Size {
    pub fn config(self) -> Config {
        match self {
            Self::Small => synthetic::small(),
            Self::Medium => synthetic::medium(),
            Self::Tiny => synthetic::config([256, 512, 1, 4, 2, 512], 256),
        }
    }
}

const SPECIAL: &[&str] = &["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];
const TEMPLATE: &str = "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}\
                        {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";
const PIECE: u64 = 1 << 20;

pub fn run(options: &Options, output: &Output) -> Result<()> {
    let dtype = match options.dtype {
        Type::F32 => DType::F32,
        Type::F16 => DType::F16,
        Type::Bf16 => DType::BF16,
    };
    let family = match options.family {
        Kind::Phi2 => Family::Phi2,
        Kind::Phi3 => Family::Phi3,
        Kind::Phimoe => Family::PhiMoe,
    };
    let config = synthetic::of_family(options.size.config(), family);
    let model = Synthetic::new(config, dtype, options.seed)?;
    std::fs::create_dir_all(&options.folder).map_err(|error| io(&error, &options.folder))?;
    let write = |name: &str, text: String| {
        let path = options.folder.join(name);
        std::fs::write(&path, text).map_err(|error| io(&error, &path))
    };
    write("config.json", model.config_json())?;
    let (tokenizer, config) = tokenizer(model.config.vocab)?;
    write("tokenizer.json", format!("{tokenizer:#}\n"))?;
    write("tokenizer_config.json", format!("{config:#}\n"))?;
    weights(&model, &options.folder.join("model.safetensors"), output)?;
    let value = json!({ "folder": options.folder, "bytes": model.bytes() });
    output.result(&value, &format!("{}: {}", options.folder.display(), output::bytes(model.bytes())));
    Ok(())
}

fn weights(model: &Synthetic, path: &Path, output: &Output) -> Result<()> {
    let fault = |error: std::io::Error| io(&error, path);
    let mut file = File::create(path).map_err(fault)?;
    let mut bytes = vec![0; PIECE as usize];
    for offset in (0..model.bytes()).step_by(PIECE as usize) {
        let piece = &mut bytes[..PIECE.min(model.bytes() - offset) as usize];
        model.read(offset, piece);
        file.write_all(piece).map_err(fault)?;
        output.progress(|| format!("{} of {}", output::bytes(offset), output::bytes(model.bytes())));
    }
    Ok(())
}

/// tokenizer.json and tokenizer_config.json of a byte-level BPE: a letter for each byte, one merge, the special tokens.
/// Ids between have no token.
fn tokenizer(vocab: usize) -> Result<(Value, Value)> {
    if vocab < 257 + SPECIAL.len() {
        return Err(Error::new(ErrorKind::Internal, "the vocabulary has no room for bytes and special tokens"));
    }
    let mut ids = Map::new();
    // GPT-2's letters: printable bytes stand for themselves, the others for letters from U+0100 on.
    let mut next = 0x100;
    for byte in 0..=255u8 {
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let letter = if printable { u32::from(byte) } else { next };
        next += u32::from(!printable);
        ids.insert(char::from_u32(letter).map(String::from).unwrap_or_default(), json!(byte));
    }
    ids.insert("\u{120}t".to_owned(), json!(256));
    let first = vocab - SPECIAL.len();
    let token = |content: &str| json!({ "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    let with_id = |(index, content): (usize, &&str)| {
        let mut token = token(content);
        token["id"] = json!(first + index);
        token
    };
    let added: Vec<Value> = SPECIAL.iter().enumerate().map(with_id).collect();
    let decoder: Map<String, Value> =
        SPECIAL.iter().enumerate().map(|(index, content)| ((first + index).to_string(), token(content))).collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": ids, "merges": [["\u{120}", "t"]],
        },
    });
    let config = json!({
        "tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": decoder, "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[0], "unk_token": SPECIAL[0], "add_bos_token": false, "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": false, "model_max_length": 4096,
    });
    Ok((tokenizer, config))
}
