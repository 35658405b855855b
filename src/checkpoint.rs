//! A checkpoint as it was found: its texts (config, tokenizer), its weight files' headers, and what they add up to.

mod builder;
mod split;

pub use builder::Builder;

use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::Header;
use crate::formats::gguf::{self, Metadata};
use crate::phi::config::Config;
use crate::phi::names::Role;
use crate::tensor::TensorInfo;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What the weight files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// safetensors or pytorch_model.bin, with config.json and Hugging Face names.
    Safetensors,
    /// GGUF, in one file or split, with llama.cpp's keys and names.
    Gguf,
}

/// A tensor and the weight file that holds it (an index into [`Checkpoint::files`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    pub file: usize,
    /// What it is for; `None` for tensors that the model has no use for.
    pub role: Option<Role>,
    pub info: TensorInfo,
}

impl Located {
    /// A tensor by the name that Hugging Face or GGUF gives it.
    pub fn new(file: usize, info: TensorInfo) -> Self {
        let role = Role::from_hf(&info.name).or_else(|| Role::from_gguf(&info.name));
        Self { file, role, info }
    }
}

/// Rows of a tensor that the model wants: all of it, or one of the tensors that make it up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece<'a> {
    pub located: &'a Located,
    /// The first row of the whole tensor that this piece fills.
    pub row: u64,
}

/// Everything but the weights themselves.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The folder's, repository's or file's name, without its path; `model` where nobody said one.
    pub name: String,
    pub kind: Kind,
    pub config: Config,
    /// Text files by name: config.json, generation_config.json, tokenizer.json, tokenizer_config.json … For a GGUF the
    /// tokenizer's texts are made from its metadata, so that everyone downstream sees one spelling.
    pub texts: BTreeMap<String, String>,
    /// Small binary files by name: tokenizer.model.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Names of the weight files.
    pub files: Vec<String>,
    /// Each weight file's header, in the order of `files`.
    pub headers: Vec<Header>,
    /// Every tensor, in file order.
    pub tensors: Vec<Located>,
    /// What a person should know although it is no error.
    pub notices: Vec<String>,
    pub tokenizer: Tokenizer,
}

/// GGUF's keys for the checkpoint's tokenizer, once made: a vocabulary of 200 000 takes a while, and every estimate needs it.
#[derive(Debug, Clone, Default)]
pub struct Tokenizer(OnceLock<Metadata>);

impl Checkpoint {
    /// The `tokenizer.*` keys of a GGUF file made from this checkpoint. Fails as [`gguf::tokenizer::metadata`] does.
    pub fn tokenizer_keys(&self) -> Result<&Metadata> {
        if let Some(keys) = self.tokenizer.0.get() {
            return Ok(keys);
        }
        let sources = gguf::tokenizer::Sources { texts: &self.texts, blobs: &self.blobs, vocab: self.config.vocab };
        let keys = gguf::tokenizer::metadata(&sources)?;
        Ok(self.tokenizer.0.get_or_init(|| keys))
    }

    /// The tensor of that role, as it stands in the checkpoint.
    pub fn tensor(&self, role: Role) -> Option<&Located> {
        self.tensors.iter().find(|located| located.role == Some(role))
    }

    /// Where the rows of a tensor come from: one tensor, or the parts of a fused one, in the order of their rows. The
    /// shapes have been checked against the configuration.
    ///
    /// Fails with `MissingTensor`.
    pub fn pieces(&self, role: Role) -> Result<Vec<Piece<'_>>> {
        if let Some(located) = self.tensor(role) {
            return Ok(vec![Piece { located, row: 0 }]);
        }
        let parts = role.parts(&self.config);
        let found: Vec<Piece> = parts
            .iter()
            .filter_map(|&part| {
                let located = self.tensor(part)?;
                Some(Piece { located, row: part.offset(&self.config) })
            })
            .collect();
        if !parts.is_empty() && found.len() == parts.len() {
            return Ok(found);
        }
        // Where some parts are there, the one that is not is what a person looks for.
        let missing = parts.iter().copied().find(|&part| !found.is_empty() && self.tensor(part).is_none());
        let missing = missing.unwrap_or(role);
        let name = match self.kind {
            Kind::Safetensors => {
                missing.hf_name(self.config.family).or_else(|| parts.first()?.hf_name(self.config.family))
            }
            Kind::Gguf => missing.gguf_name(),
        };
        let name = name.unwrap_or_else(|| format!("{missing:?}"));
        let what = "the model needs this tensor, and no weight file has it: a shard is missing, or config.json belongs to another checkpoint";
        Err(Error::new(ErrorKind::MissingTensor, what).in_tensor(name))
    }

    /// Every tensor that the model needs, fused where it is fused in the forward pass, in the order of that pass; a
    /// GGUF's LongRoPE factors at the end.
    pub fn needed(&self) -> Vec<Role> {
        let mut roles = Role::all(&self.config);
        if self.kind == Kind::Gguf && self.config.rope.long.is_some() {
            roles.extend([Role::RopeFactorsLong, Role::RopeFactorsShort]);
        }
        roles
    }

    /// Every needed tensor is there, once, with the shape that the configuration implies.
    fn check(&self) -> Result<()> {
        for role in self.needed() {
            let pieces = self.pieces(role)?;
            for piece in &pieces {
                let info = &piece.located.info;
                let role = piece.located.role.unwrap_or(role);
                let expected = role.shape(&self.config);
                if info.shape != expected {
                    let message = format!("the shape is {:?}; the configuration implies {expected:?}", info.shape);
                    let error = Error::new(ErrorKind::BadShape, message).in_tensor(info.name.clone());
                    return Err(error.in_file(self.files[piece.located.file].clone()));
                }
            }
            if role.parts(&self.config).iter().any(|&part| pieces.len() == 1 && self.tensor(part).is_some()) {
                let name = &pieces[0].located.info.name;
                bail!(BadConfig, "the checkpoint has {name} and also its parts as separate tensors: which ones count?");
            }
        }
        Ok(())
    }
}
