//! Collects a checkpoint: add what is there, ask what is wanted, push headers, finish.

use super::{Checkpoint, Kind, Located, Tokenizer, split};
use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::{Header, HeaderReader, Need, gguf, pytorch, safetensors};
use crate::phi::config::Config;
use crate::phi::names::{Role, is_derived};
use crate::tensor::TensorInfo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A GGUF file's name without its extension.
fn stem(name: &str) -> &str {
    name.strip_suffix(".gguf").unwrap_or(name)
}

/// A kind of weight file.
struct Weights {
    /// Which of several files has which tensor.
    index: &'static str,
    /// The name of one file that has them all.
    single: &'static str,
    /// What their names begin and end with.
    begin: &'static str,
    end: &'static str,
}

impl Weights {
    fn is(&self, name: &str) -> bool {
        name.starts_with(self.begin) && name.ends_with(self.end)
    }
}

/// The better one first.
const KINDS: [Weights; 2] = [
    Weights { index: "model.safetensors.index.json", single: "model.safetensors", begin: "", end: ".safetensors" },
    // Beside it lie training_args.bin and the like.
    Weights { index: "pytorch_model.bin.index.json", single: "pytorch_model.bin", begin: "pytorch_model", end: ".bin" },
];

/// Collects a checkpoint: add what is there, ask what is wanted, push headers, finish.
#[derive(Default)]
pub struct Builder {
    name: Option<String>,
    /// What the folder is known to hold, whether its content was added or not.
    names: BTreeSet<String>,
    texts: BTreeMap<String, String>,
    blobs: BTreeMap<String, Vec<u8>>,
    readers: BTreeMap<String, Box<dyn HeaderReader>>,
}

impl Builder {
    /// The folder's, repository's or file's name. It becomes the model's name in what is written; any path before it and
    /// `.gguf`, `.safetensors` or `.bin` after it are cut off.
    pub fn set_name(&mut self, name: &str) {
        let stem = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
        let stem = [".gguf", ".safetensors", ".bin"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem);
        let stem = split::parse(stem).map_or(stem, |(stem, ..)| stem);
        self.name = (!stem.is_empty()).then(|| stem.to_owned());
    }

    /// A file that the folder has, so that [`Builder::weight_files`] can tell what there is; optional.
    pub fn add_name(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// A text file: config.json, generation_config.json, model.safetensors.index.json, tokenizer.json,
    /// tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja … Any name is kept.
    pub fn add_text(&mut self, name: &str, text: String) -> Result<()> {
        self.add_name(name);
        // Some editors and servers put a byte order mark before JSON.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        self.texts.insert(name.to_owned(), text);
        Ok(())
    }

    /// A small binary file: tokenizer.model.
    pub fn add_blob(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.add_name(name);
        self.blobs.insert(name.to_owned(), bytes);
        Ok(())
    }

    /// The weight files whose headers are wanted, given the texts so far (config.json, and the index if there is one).
    ///
    /// Fails early, before a header is read, where config.json is missing or is not a supported Phi's.
    pub fn weight_files(&self) -> Result<Vec<String>> {
        let ggufs: Vec<&str> = self.names.iter().map(String::as_str).filter(|name| name.ends_with(".gguf")).collect();
        let others = self.names.contains(self.kind().index) || self.names.iter().any(|name| self.kind().is(name));
        if !ggufs.is_empty() && !others {
            // Repositories of GGUF files often have a config.json too: the file has all that it says.
            // A file that llama-gguf-split cut: one name is enough, the others follow from it.
            let (stem, files) = split::parse(stem(ggufs[0])).map_or(("", 0), |(stem, _, files)| (stem, files));
            if files > 0
                && ggufs
                    .iter()
                    .all(|name| split::parse(self::stem(name)).is_some_and(|(s, _, n)| (s, n) == (stem, files)))
            {
                return Ok((1..=files).map(|number| format!("{}.gguf", split::name(stem, number, files))).collect());
            }
            return match ggufs[..] {
                [one] => Ok(vec![one.to_owned()]),
                _ => bail!(BadOption, "there are {} GGUF files ({}): open one of them", ggufs.len(), ggufs.join(", ")),
            };
        }
        self.config()?;
        if let Some(map) = self.weight_map()? {
            let mut files: Vec<String> = map.into_values().collect();
            files.sort();
            files.dedup();
            return Ok(files);
        }
        let kind = self.kind();
        let weights: Vec<&String> = self.names.iter().filter(|name| kind.is(name)).collect();
        match weights[..] {
            _ if self.names.contains(kind.single) => Ok(vec![kind.single.into()]),
            [one] => Ok(vec![one.clone()]),
            // Only some names may be known: the usual one is worth asking for.
            [] => Ok(vec![kind.single.into()]),
            _ => Err(missing(kind.index, "there are several weight files, and no index says which tensor is in which")),
        }
    }

    /// The best kind of weight file that there is; the first where none is known.
    fn kind(&self) -> &'static Weights {
        let there = |kind: &&Weights| self.names.contains(kind.index) || self.names.iter().any(|name| kind.is(name));
        KINDS.iter().find(there).unwrap_or(&KINDS[0])
    }

    /// Pushes the next bytes of a weight file, from its start; `size` is the file's length where known.
    pub fn push_header(&mut self, file: &str, size: Option<u64>, bytes: &[u8]) -> Result<Need> {
        if !self.readers.contains_key(file) {
            self.add_name(file);
            let reader: Box<dyn HeaderReader> = if file.ends_with(".gguf") {
                Box::new(gguf::Reader::new(size))
            } else if file.ends_with(".bin") {
                Box::new(pytorch::Reader::new(size))
            } else {
                Box::new(safetensors::Reader::new(size))
            };
            self.readers.insert(file.to_owned(), reader);
        }
        let reader = self.readers.get_mut(file).expect("the reader was just put there");
        reader.push(bytes).map_err(|e| e.in_file(file))
    }

    pub fn finish(mut self) -> Result<Checkpoint> {
        let (mut files, mut headers) = (Vec::new(), Vec::new());
        for (file, reader) in std::mem::take(&mut self.readers) {
            headers.push(reader.finish().map_err(|e| e.in_file(file.clone()))?);
            files.push(file);
        }
        let kind = match files.iter().filter(|file| file.ends_with(".gguf")).count() {
            0 => Kind::Safetensors,
            n if n == files.len() => Kind::Gguf,
            _ => bail!(BadOption, "a GGUF file stands alone: open it, or the safetensors files, but not both"),
        };
        let weights = self.kind();
        let mut notices = Vec::new();
        let (config, texts) = match kind {
            Kind::Gguf => {
                split::check(&files, &headers)?;
                let header = &headers[0];
                let all: Vec<TensorInfo> = headers.iter().flat_map(|header| header.tensors.iter().cloned()).collect();
                let config = Config::from_gguf(&header.metadata, &all).map_err(|e| e.in_file(files[0].clone()))?;
                let texts = gguf::tokenizer::texts(&header.metadata).map_err(|e| e.in_file(files[0].clone()))?;
                (config, texts)
            }
            Kind::Safetensors => {
                for file in self.weight_files()? {
                    if !files.contains(&file) {
                        return Err(missing(&file, "the checkpoint needs this weight file"));
                    }
                }
                (self.config()?, std::mem::take(&mut self.texts))
            }
        };
        let tensors = locate(kind, &config, &files, &headers, &mut notices)?;
        if let Some(text) = texts.get(weights.index).filter(|_| kind == Kind::Safetensors) {
            check_index(&weight_map(text, weights)?, weights, &files, &tensors)?;
        }
        let name = self.name.unwrap_or_else(|| "model".into());
        let blobs = self.blobs;
        let tokenizer = Tokenizer::default();
        let checkpoint = Checkpoint { name, kind, config, texts, blobs, files, headers, tensors, notices, tokenizer };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    fn config(&self) -> Result<Config> {
        let Some(config) = self.texts.get("config.json") else {
            return Err(missing(
                "config.json",
                "a checkpoint needs config.json beside its weights, and this one has none",
            ));
        };
        Config::from_json(config, self.texts.get("generation_config.json").map(String::as_str))
    }

    fn weight_map(&self) -> Result<Option<HashMap<String, String>>> {
        let kind = self.kind();
        self.texts.get(kind.index).map(|text| weight_map(text, kind)).transpose()
    }
}

fn missing(file: &str, what: &str) -> Error {
    Error::new(ErrorKind::MissingFile, what).in_file(file)
}

/// The index: which file holds which tensor.
fn weight_map(text: &str, kind: &Weights) -> Result<HashMap<String, String>> {
    let fault = |what: String| Error::new(ErrorKind::BadConfig, what).in_file(kind.index);
    let value: Value = serde_json::from_str(text).map_err(|e| fault(format!("this is not JSON: {e}")))?;
    let Some(map) = value.get("weight_map").and_then(Value::as_object) else {
        return Err(fault("weight_map is not there, or not an object".into()));
    };
    let mut files = HashMap::new();
    for (tensor, file) in map {
        // A name with a path would reach outside the checkpoint.
        let name = file.as_str().filter(|name| kind.is(name) && !name.contains(['/', '\\']));
        let Some(name) = name else {
            return Err(fault(format!(
                "{tensor} is said to be in {file}, which is not the name of a {} file beside it",
                kind.end
            )));
        };
        files.insert(tensor.clone(), name.to_owned());
    }
    if files.is_empty() {
        return Err(fault("weight_map is empty".into()));
    }
    Ok(files)
}

/// Every tensor of every file with its role; each has one, is needless, or is an error.
fn locate(
    kind: Kind,
    config: &Config,
    files: &[String],
    headers: &[Header],
    notices: &mut Vec<String>,
) -> Result<Vec<Located>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut tensors = Vec::new();
    let known = known_roles(config);
    for (file, header) in headers.iter().enumerate() {
        for info in &header.tensors {
            let at = |kind: ErrorKind, what: String| {
                Error::new(kind, what).in_tensor(info.name.clone()).in_file(files[file].clone())
            };
            if let Some(&other) = seen.get(info.name.as_str()) {
                return Err(at(ErrorKind::BadHeader, format!("this tensor is also in {}", files[other])));
            }
            seen.insert(&info.name, file);
            let role = match kind {
                Kind::Safetensors => Role::from_hf(&info.name),
                Kind::Gguf => Role::from_gguf(&info.name),
            };
            let role = role.filter(|role| known.contains(role));
            let needless = role == Some(Role::Output) && config.tied;
            match role {
                Some(_) if needless => {
                    notices.push(format!(
                        "{} is left out: config.json says that the embedding serves as output",
                        info.name
                    ));
                }
                Some(_) if crate::quant::by_name(info.dtype.name).is_none() => {
                    let what = format!("the weights are {}, which phiquant cannot read", info.dtype.name);
                    return Err(at(ErrorKind::Unsupported, what));
                }
                None if !is_derived(&info.name) => {
                    return Err(at(
                        ErrorKind::Unsupported,
                        "phiquant does not know this tensor, so its model would be another one".into(),
                    ));
                }
                _ => {}
            }
            tensors.push(Located { file, role: role.filter(|_| !needless), info: info.clone() });
        }
    }
    Ok(tensors)
}

/// What a tensor may be for: whatever the model has, whole or in parts, LongRoPE's factors, and an output matrix that a
/// tied embedding makes needless.
fn known_roles(config: &Config) -> HashSet<Role> {
    let mut roles: HashSet<Role> = Role::all(config).into_iter().collect();
    for role in roles.clone() {
        roles.extend(role.parts(config));
    }
    roles.extend([Role::RopeFactorsLong, Role::RopeFactorsShort, Role::Output]);
    roles
}

/// The index and the files agree on which tensor is where.
fn check_index(map: &HashMap<String, String>, kind: &Weights, files: &[String], tensors: &[Located]) -> Result<()> {
    for located in tensors {
        let (name, file) = (&located.info.name, &files[located.file]);
        let said = map.get(name).map(String::as_str);
        if said != Some(file.as_str()) {
            let what = format!("the tensor is in {file}; the index says {}", said.unwrap_or("nothing of it"));
            return Err(Error::new(ErrorKind::BadConfig, what).in_tensor(name.clone()).in_file(kind.index));
        }
    }
    let there: BTreeSet<&str> = tensors.iter().map(|located| located.info.name.as_str()).collect();
    // The smallest name, so that the message does not depend on the map's order.
    let gone = map.iter().filter(|(name, _)| !there.contains(name.as_str())).min();
    if let Some((name, file)) = gone {
        let what = format!("the index says that {file} has this tensor, and it does not");
        return Err(Error::new(ErrorKind::MissingTensor, what).in_tensor(name.clone()).in_file(file.clone()));
    }
    Ok(())
}
