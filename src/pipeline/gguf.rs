//! The plan of a GGUF file: keys, values, tensors and their order as llama.cpp's tools write them.
//!
//! F32, F16 and BF16 follow convert_hf_to_gguf.py; quantized types follow llama-quantize run on its output, which sorts
//! tensors by layer and name and moves two keys to the end. A GGUF as source goes llama-quantize's way.

mod choice;
mod split;
mod weigh;

use super::{Literal, Options, OutputFile, Plan, Task};
use crate::bail;
use crate::checkpoint::{Checkpoint, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::mix::{self, Mix};
use crate::formats::gguf::writer::{self, Entry};
use crate::formats::gguf::{Metadata, Value, find, naming};
use crate::phi::config::gguf as keys;
use crate::phi::names::Role;
use crate::tensor::{DType, elements};
use choice::Candidate;
use regex_lite::Regex;
use serde_json::Value as Json;

/// ggml's GGML_QNT_VERSION.
const QUANTIZATION_VERSION: u32 = 2;

/// A tensor of the output: its bytes come from the checkpoint, or are known already.
struct Output {
    role: Role,
    name: String,
    dtype: DType,
    bytes: Option<Vec<u8>>,
}

pub(super) fn plan(checkpoint: &Checkpoint, options: &Options) -> Result<Plan> {
    let Some(mix) = mix::by_name(&options.scheme) else {
        let names: Vec<&str> = mix::available().map(|mix| mix.name).collect();
        bail!(BadOption, "GGUF has no scheme {:?} here; there are {}", options.scheme, names.join(", "));
    };
    let config = &checkpoint.config;
    if config.heads * config.head_dim != config.hidden {
        bail!(
            Unsupported,
            "head_dim · num_attention_heads is not hidden_size, which llama.cpp's {} cannot have",
            config.family.gguf()
        );
    }
    let mut notices = checkpoint.notices.clone();
    let mut outputs = outputs(checkpoint, mix, options, &mut notices)?;
    let quantizes = !mix.is_plain() || checkpoint.kind == Kind::Gguf;
    if quantizes {
        outputs.sort_by(|a, b| {
            let layer = |output: &Output| output.role.layer().map_or(0, |layer| layer + 1);
            layer(a).cmp(&layer(b)).then_with(|| a.name.cmp(&b.name))
        });
    }
    // By reference: a vocabulary is large, and its keys are kept by the checkpoint.
    let mut own = match checkpoint.kind {
        Kind::Gguf => Metadata::new(),
        _ => converted(checkpoint, mix, &outputs, &mut notices)?,
    };
    let rest = match checkpoint.kind {
        Kind::Gguf => &checkpoint.headers[0].metadata,
        _ => checkpoint.tokenizer_keys()?,
    };
    // The converter sets phi2's add_bos_token before it has seen the tokenizer, whose word counts.
    let mut set_before = Vec::new();
    for (key, value) in &mut own {
        if let Some(new) = find(rest, key) {
            *value = new.clone();
            set_before.push(key.clone());
        }
    }
    let rest = rest.iter().filter(|(key, _)| !set_before.contains(key));
    let mut last = quantized_keys(mix);
    last.extend(options.importance.iter().flat_map(|importance| weigh::keys(importance)));
    let mut metadata: Vec<&(String, Value)> = own.iter().chain(rest).collect();
    if quantizes {
        // llama-quantize sets these, and they then stand at the end. The alignment is 32 whatever it was, and a file made
        // of shards is whole.
        let set = |key: &str| last.iter().any(|(name, _)| name == key);
        metadata.retain(|(key, _)| !set(key) && !key.starts_with("split.") && key != "general.alignment");
        metadata.extend(&last);
    }
    write(checkpoint, options, mix, &metadata, outputs, notices)
}

/// Where everything goes, in one file or in several.
fn write(
    checkpoint: &Checkpoint,
    options: &Options,
    mix: &Mix,
    metadata: &[&(String, Value)],
    outputs: Vec<Output>,
    mut notices: Vec<String>,
) -> Result<Plan> {
    let config = &checkpoint.config;
    let entries: Vec<Entry> =
        outputs.iter().map(|o| Entry { name: o.name.clone(), shape: o.role.shape(config), dtype: o.dtype }).collect();
    let stem = match &options.name {
        Some(name) => name.strip_suffix(".gguf").unwrap_or(name).to_owned(),
        None => format!("{}-{}", checkpoint.name, mix.name),
    };
    let parts = match options.split_bytes {
        Some(0) => bail!(BadOption, "splitBytes is 0"),
        Some(limit) => split::cut(&entries.iter().map(writer::size).collect::<Result<Vec<_>>>()?, limit),
        None => std::iter::once(0..entries.len()).collect(),
    };
    if parts.len() > usize::from(u16::MAX) {
        bail!(BadOption, "splitBytes makes {} files; 65535 are the most", parts.len());
    }

    let (mut files, mut literals, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    let mut outputs = outputs.into_iter();
    for (file, part) in parts.iter().enumerate() {
        let own = if parts.len() > 1 { split::keys(file, parts.len(), entries.len()) } else { Metadata::new() };
        let shared = if file == 0 { metadata } else { &[] };
        let keys: Vec<&(String, Value)> = shared.iter().copied().chain(&own).collect();
        let layout = writer::layout(keys, &entries[part.clone()])?;
        literals.push(Literal { file, offset: 0, bytes: layout.head });
        for (i, output) in outputs.by_ref().take(part.len()).enumerate() {
            let (offset, end) = (layout.offsets[i], layout.offsets[i] + layout.sizes[i]);
            match output.bytes {
                Some(bytes) => literals.push(Literal { file, offset, bytes }),
                None => push_tasks(checkpoint, options, &output, file, offset, &mut tasks)?,
            }
            let next = layout.offsets.get(i + 1).copied().unwrap_or(layout.size);
            if next > end {
                literals.push(Literal { file, offset: end, bytes: vec![0; (next - end) as usize] });
            }
        }
        let name = split::name(&stem, file, parts.len());
        if options.split_bytes.is_some_and(|limit| layout.sizes.iter().sum::<u64>() > limit) {
            notices.push(format!("{name} is larger than the others may be: it holds one tensor, which cannot be cut"));
        }
        files.push(OutputFile { name, bytes: layout.size });
    }
    tasks.sort_by_key(|task| (task.source_file, task.source.start));
    if let Some(task) = tasks.iter().find(|task| task.from != task.to && task.from.group > 1) {
        let what = "quantized a second time, which loses more than quantizing the original checkpoint";
        notices.push(format!("the weights are {} already and are {what}", task.from.name));
    }
    Ok(Plan { files, literals, tasks, notices })
}

/// Every tensor of the output in convert_hf_to_gguf.py's order: computed ones, then file by file, by name.
fn outputs(
    checkpoint: &Checkpoint,
    mix: &'static Mix,
    options: &Options,
    notices: &mut Vec<String>,
) -> Result<Vec<Output>> {
    let config = &checkpoint.config;
    let mut outputs = Vec::new();
    if let (Kind::Safetensors, Some(long)) = (checkpoint.kind, &config.rope.long) {
        for (role, factors) in [(Role::RopeFactorsLong, &long.long), (Role::RopeFactorsShort, &long.short)] {
            let bytes = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
            outputs.push(Output { role, name: gguf_name(role)?, dtype: DType::F32, bytes: Some(bytes) });
        }
    }
    let mut needed = Vec::new();
    for role in checkpoint.needed() {
        for role in written(checkpoint, role) {
            needed.push((place(checkpoint, role)?, role));
        }
    }
    needed.sort();

    let mut candidates = Vec::new();
    for (_, role) in &needed {
        let pieces = checkpoint.pieces(*role)?;
        candidates.push(Candidate {
            name: gguf_name(*role)?,
            shape: role.shape(config),
            sources: pieces.iter().map(|piece| piece.located.info.name.clone()).collect(),
            from: pieces[0].located.info.dtype,
        });
    }
    let types = choice::choose(checkpoint, mix, options, &candidates, notices)?;
    for (((_, role), candidate), dtype) in needed.into_iter().zip(candidates).zip(types) {
        outputs.push(Output { role, name: candidate.name, dtype, bytes: None });
    }
    Ok(outputs)
}

/// The tensors of the output that hold a role: separate queries, keys and values stay so.
fn written(checkpoint: &Checkpoint, role: Role) -> Vec<Role> {
    match role {
        Role::Qkv(_) | Role::QkvBias(_) if checkpoint.tensor(role).is_none() => role.parts(&checkpoint.config),
        _ => vec![role],
    }
}

/// Where a tensor stands among the converter's: by the file and name of its first part in the checkpoint. Experts are
/// stacked once the last of their layer has come, and then follow each other by name.
fn place(checkpoint: &Checkpoint, role: Role) -> Result<(usize, &str, &str)> {
    let places = |role: Role| -> Result<Vec<(usize, &str)>> {
        let pieces = checkpoint.pieces(role)?.into_iter();
        Ok(pieces.map(|piece| (piece.located.file, piece.located.info.name.as_str())).collect())
    };
    let first = places(role)?.into_iter().min().unwrap_or_default();
    let mut last = first;
    if let (Role::Experts(n, _), None) = (role, checkpoint.tensor(role)) {
        for part in 0..3 {
            last = places(Role::Experts(n, part))?.into_iter().max().unwrap_or_default().max(last);
        }
    }
    Ok((last.0, last.1, first.1))
}

fn gguf_name(role: Role) -> Result<String> {
    role.gguf_name().ok_or_else(|| Error::new(ErrorKind::Internal, format!("{role:?} has no name in GGUF")))
}

/// The tasks that fill one tensor of the output.
fn push_tasks(
    checkpoint: &Checkpoint,
    options: &Options,
    output: &Output,
    file: usize,
    offset: u64,
    tasks: &mut Vec<Task>,
) -> Result<()> {
    let to = output.dtype;
    let shape = output.role.shape(&checkpoint.config);
    for piece in checkpoint.pieces(output.role)? {
        let info = &piece.located.info;
        let place = |e: Error| e.in_tensor(info.name.clone());
        if info.dtype != to && info.dtype.group > 1 && !options.allow_requantize {
            let what = format!(
                "the weights are {} already, and to quantize them again to {} would lose more: open the original checkpoint, or allow it (allowRequantize)",
                info.dtype.name, to.name
            );
            return Err(place(Error::new(ErrorKind::Unsupported, what)));
        }
        let cols = info.cols();
        let (Some(row_bytes), Some(source_bytes)) = (to.row_bytes(cols), info.dtype.row_bytes(cols)) else {
            return Err(place(Error::new(ErrorKind::Internal, "the plan's type does not fit the rows")));
        };
        let rows = piece.row..piece.row + info.rows();
        for (run, importance) in weigh::runs(options.importance.as_deref(), &output.name, &shape, to, rows) {
            let start = info.span.start + (run.start - piece.row) * source_bytes;
            tasks.push(Task {
                tensor: info.name.clone(),
                output: output.name.clone(),
                source_file: piece.located.file,
                source: start..start + (run.end - run.start) * source_bytes,
                from: info.dtype,
                to,
                rows: run.end - run.start,
                cols,
                file,
                offset: offset + run.start * row_bytes,
                importance,
            });
        }
    }
    Ok(())
}

/// All keys before the tokenizer's, as convert_hf_to_gguf.py writes them.
fn converted(checkpoint: &Checkpoint, mix: &Mix, outputs: &[Output], notices: &mut Vec<String>) -> Result<Metadata> {
    let config = &checkpoint.config;
    let prefix = config.family.gguf();
    let mut metadata: Metadata = vec![("general.architecture".into(), Value::String(prefix.into()))];
    if let Some(long) = &config.rope.long {
        metadata.push((format!("{prefix}.rope.scaling.attn_factor"), Value::F32(long.attention_factor)));
    }
    let json = |name: &str| checkpoint.texts.get(name).and_then(|text| serde_json::from_str::<Json>(text).ok());
    let mut parameters = naming::Parameters::default();
    for output in outputs {
        let count = elements(&output.role.shape(config))?;
        parameters.all = parameters.all.saturating_add(count);
        if let (Role::Experts(..), Some(experts)) = (output.role, &config.experts) {
            parameters.experts = experts.count as u64;
            parameters.expert = parameters.expert.saturating_add(count / parameters.experts);
        }
    }
    let hf_config = json("config.json").unwrap_or(Json::Null);
    let generation = json("generation_config.json");
    metadata.extend(naming::metadata(&checkpoint.name, &hf_config, generation.as_ref(), parameters));
    metadata.extend(keys::metadata(config, mix.file_type));
    metadata.push(("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)));
    rename_for_llama_cpp(&mut metadata, checkpoint.tokenizer_keys()?, notices);
    Ok(metadata)
}

/// llama.cpp looks up Phi-3's special tokens in every model whose name contains "phi3" or "phi-3", and refuses to load one
/// that has not all of them. The converter does not see to it; here such a name gets a space.
fn rename_for_llama_cpp(metadata: &mut Metadata, tokenizer: &Metadata, notices: &mut Vec<String>) {
    let tokens = find(tokenizer, "tokenizer.ggml.tokens").and_then(Value::as_strings).unwrap_or_default();
    let lacks = ["</s>", "<unk>", "<s>", "<|endoftext|>"].iter().any(|token| !tokens.iter().any(|t| t == token));
    let name = metadata.iter_mut().find(|(key, _)| key == "general.name");
    let Some((_, Value::String(name))) = name.filter(|_| lacks) else { return };
    let parts = Regex::new("(?i)(phi)-?3").expect("the pattern is a constant");
    let changed = parts.replace_all(name, "$1 3").into_owned();
    if changed != *name {
        notices.push(format!(
            "general.name is {changed:?}: llama.cpp would not load a model called {name:?} without Phi-3's tokens"
        ));
        *name = changed;
    }
}

/// The keys that llama-quantize sets.
fn quantized_keys(mix: &Mix) -> Metadata {
    vec![
        ("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)),
        ("general.file_type".into(), Value::U32(mix.file_type)),
    ]
}
