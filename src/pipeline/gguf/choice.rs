//! Which type each tensor of the file gets: the mix, and what a person asked for besides.

use super::super::{Options, Override};
use crate::bail;
use crate::checkpoint::{Checkpoint, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::mix::{self, Mix, Model, Request, Tensor};
use crate::tensor::DType;
use regex_lite::Regex;

/// A tensor before its type is chosen.
pub(super) struct Candidate {
    /// In the file to be written.
    pub name: String,
    pub shape: Vec<u64>,
    /// Names and type in the checkpoint: of all its parts, where it is fused here.
    pub sources: Vec<String>,
    pub from: DType,
}

/// The types, in the order of the candidates.
///
/// Fails with `BadOption` where a type is asked for that GGUF or phiquant does not have, or where a pattern cannot be read, and
/// with `NeedsImportance` and `WrongImportance`.
pub(super) fn choose(
    checkpoint: &Checkpoint,
    mix: &'static Mix,
    options: &Options,
    candidates: &[Candidate],
    notices: &mut Vec<String>,
) -> Result<Vec<DType>> {
    let config = &checkpoint.config;
    if let Some(importance) = &options.importance {
        super::weigh::check(importance, candidates, notices)?;
        if mix.is_plain() {
            notices.push(format!("{} makes no use of an importance matrix", mix.name));
        }
    }
    let has = |name: &str| options.importance.as_ref().is_some_and(|importance| importance.get(name).is_some());
    let overrides = options.overrides.iter().map(compile).collect::<Result<Vec<_>>>()?;
    let find = |i: usize| {
        let Candidate { name, sources, .. } = &candidates[i];
        let matches = |regex: &Regex| regex.is_match(name) || sources.iter().any(|source| regex.is_match(source));
        overrides.iter().position(|(regex, _)| matches(regex))
    };
    let request = Request {
        mix,
        pure: options.pure,
        importance: options.importance.is_some(),
        output: options.output_type.as_deref().map(|name| asked("outputType", name)).transpose()?,
        token_embedding: options
            .token_embedding_type
            .as_deref()
            .map(|name| asked("tokenEmbeddingType", name))
            .transpose()?,
        manual: &|i| find(i).map(|found| overrides[found].1),
    };
    let experts = config.experts.map_or(0, |experts| experts.count);
    let tensors: Vec<Tensor> = candidates.iter().map(|c| Tensor { name: &c.name, shape: &c.shape }).collect();
    let model = Model { layers: config.layers, gqa: config.heads / config.kv_heads.max(1), experts };

    let mut used = vec![false; overrides.len()];
    let mut types = Vec::new();
    for (i, choice) in mix::choose(&model, &tensors, &request).into_iter().enumerate() {
        let Candidate { name, shape, from, .. } = &candidates[i];
        let Some(mix::Choice { dtype, wanted }) = choice else {
            // Norms, factors, biases: as the converter writes them, or as they are.
            types.push(if checkpoint.kind == Kind::Gguf { *from } else { DType::F32 });
            continue;
        };
        if let Some(found) = find(i) {
            used[found] = true;
        }
        if dtype != wanted {
            let cols = shape.last().copied().unwrap_or(1);
            notices.push(format!(
                "{name} becomes {}: its rows of {cols} do not divide into {}'s blocks",
                dtype.name, wanted.name
            ));
        }
        let spared = matches!(name.as_str(), "output.weight" | "token_embd.weight");
        if !has(name) && !spared && mix.needs_importance.contains(&dtype.name) {
            let what =
                format!("{} cannot be made without an importance matrix: give one (imatrix), or choose Q2_K", mix.name);
            return Err(Error::new(ErrorKind::NeedsImportance, what).in_tensor(name.clone()));
        }
        types.push(known(dtype)?);
    }
    for (used, (pattern, _)) in used.iter().zip(&overrides) {
        if !used {
            notices.push(format!("the override {:?} matches no matrix", pattern.as_str()));
        }
    }
    Ok(types)
}

fn compile(o: &Override) -> Result<(Regex, DType)> {
    let regex = Regex::new(&o.pattern).map_err(|e| {
        Error::new(ErrorKind::BadOption, format!("the override {:?} is no regular expression: {e}", o.pattern))
    })?;
    match mix::dtype(&o.scheme) {
        Some(dtype) => Ok((regex, dtype)),
        None => bail!(BadOption, "the override {:?} names {:?}, which GGUF has not here", o.pattern, o.scheme),
    }
}

fn asked(option: &str, name: &str) -> Result<DType> {
    match mix::dtype(name) {
        Some(dtype) => Ok(dtype),
        None => bail!(BadOption, "{option} is {name:?}, which GGUF has not here; there are {}", names()),
    }
}

/// The types that a tensor can get.
fn names() -> String {
    let specs = crate::quant::SCHEMES.iter().map(|scheme| scheme.spec()).filter(|spec| spec.ggml_type.is_some());
    specs.map(|spec| spec.dtype.name).collect::<Vec<_>>().join(", ")
}

fn known(dtype: DType) -> Result<DType> {
    match mix::dtype(dtype.name) {
        Some(dtype) => Ok(dtype),
        None => bail!(Unsupported, "phiquant has no kernels for {}", dtype.name),
    }
}
