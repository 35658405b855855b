//! Mixes: which type each tensor gets, as llama-quantize (llama.cpp `src/llama-quant.cpp`) chooses it. A mix is a line of data
//! in [`table`]; [`choose`] walks over a model's tensors.

mod choose;
mod table;

pub use choose::{Choice, Model, Request, Tensor, choose, is_quantizable};
pub use table::MIXES;

use super::types;
use crate::quant;
use crate::tensor::DType;

/// A file type as llama-quantize names it.
#[derive(Debug)]
pub struct Mix {
    pub name: &'static str,
    /// `general.file_type` (`enum llama_ftype`).
    pub file_type: u32,
    /// The type of every matrix without a rule.
    pub base: &'static str,
    /// The type of the output matrix, or of a tied embedding.
    pub output: &'static str,
    /// The first that applies wins.
    pub rules: &'static [&'static [Rule]],
    /// Schemes that may not be used without an importance matrix, the embedding's and the output's apart.
    pub needs_importance: &'static [&'static str],
    /// One line for a person who chooses.
    pub summary: &'static str,
}

/// Matrices of some kinds, in some places, that get another type.
#[derive(Debug)]
pub struct Rule {
    pub matrices: &'static [Matrix],
    pub when: fn(&Place) -> bool,
    pub scheme: &'static str,
}

/// What a matrix is for, as far as mixes tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    Output,
    TokenEmbedding,
    AttentionQ,
    AttentionK,
    /// Values, alone or in one matrix with queries and keys.
    AttentionV,
    AttentionOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Other,
}

/// Where a matrix stands and in what model.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// How many of its kind come before it, and how many there are: layers, as a rule.
    pub index: usize,
    pub count: usize,
    /// Query heads per key head.
    pub gqa: usize,
    pub experts: usize,
    /// Several experts' matrices in one tensor.
    pub stacked: bool,
    /// Whether there is an importance matrix.
    pub importance: bool,
}

impl Matrix {
    /// By the tensor's name in GGUF: the first part that is found there.
    pub fn of(name: &str) -> Matrix {
        const PARTS: &[(&str, Matrix)] = &[
            ("attn_qkv.weight", Matrix::AttentionV),
            ("attn_v.weight", Matrix::AttentionV),
            ("attn_k.weight", Matrix::AttentionK),
            ("attn_q.weight", Matrix::AttentionQ),
            ("attn_output.weight", Matrix::AttentionOutput),
            ("ffn_up", Matrix::FfnUp),
            ("ffn_gate", Matrix::FfnGate),
            ("ffn_down", Matrix::FfnDown),
        ];
        match name {
            "output.weight" => Matrix::Output,
            "token_embd.weight" => Matrix::TokenEmbedding,
            _ => PARTS.iter().find(|(part, _)| name.contains(part)).map_or(Matrix::Other, |(_, matrix)| *matrix),
        }
    }
}

/// Names that llama-quantize takes for another mix; `MXFP4` is ours.
const ALIASES: &[(&str, &str)] = &[("Q3_K", "Q3_K_M"), ("Q4_K", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("MXFP4", "MXFP4_MOE")];

/// The mix of that name, in any case.
pub fn by_name(name: &str) -> Option<&'static Mix> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let name = alias.map_or(name, |(_, name)| name);
    available().find(|mix| mix.name.eq_ignore_ascii_case(name))
}

/// The mixes whose schemes exist.
pub fn available() -> impl Iterator<Item = &'static Mix> {
    MIXES.iter().filter(|mix| mix.schemes().all(|name| quant::by_name(name).is_some()))
}

impl Mix {
    /// Whether convert_hf_to_gguf.py writes this type, so that llama-quantize has no part in it.
    pub fn is_plain(&self) -> bool {
        matches!(self.base, "F32" | "F16" | "BF16")
    }

    /// What a person finds it under: the few that are worth trying first, or its kind.
    pub fn group(&self) -> &'static str {
        match self.name {
            "Q8_0" | "Q6_K" | "Q5_K_M" | "Q4_K_M" | "Q4_0" | "IQ4_XS" | "Q3_K_M" => "Recommended",
            _ if self.is_plain() => "Not quantized",
            _ if self.base.starts_with("TQ") || self.base == "MXFP4" => "For models made for them",
            _ if self.base.ends_with("_K") => "K-quants",
            _ => "Blocks of 32",
        }
    }

    /// Every scheme that it names.
    pub fn schemes(&self) -> impl Iterator<Item = &'static str> {
        let rules = self.rules.iter().flat_map(|rules| rules.iter()).map(|rule| rule.scheme);
        [self.base, self.output].into_iter().chain(rules)
    }

    /// The scheme for a matrix, whatever its shape. `tied`: the embedding serves as output.
    pub fn scheme(&self, matrix: Matrix, place: &Place, tied: bool) -> &'static str {
        if matrix == Matrix::Output || (tied && matrix == Matrix::TokenEmbedding) {
            return self.output;
        }
        let mut rules = self.rules.iter().flat_map(|rules| rules.iter());
        rules.find(|r| r.matrices.contains(&matrix) && (r.when)(place)).map_or(self.base, |rule| rule.scheme)
    }
}

/// The type that llama-quantize falls back to where rows of `cols` weights do not divide into `dtype`'s blocks.
pub fn fit(dtype: DType, cols: u64) -> DType {
    let divides = |dtype: &DType| dtype.row_bytes(cols).is_some();
    if divides(&dtype) {
        return dtype;
    }
    let smaller = match dtype.name {
        "Q6_K" => "Q8_0",
        "Q5_K" => "Q5_1",
        "Q4_K" => "Q5_0",
        "Q3_K" | "Q2_K" | "TQ1_0" | "TQ2_0" => "Q4_0",
        "IQ4_XS" => "IQ4_NL",
        other => other,
    };
    types::by_name(smaller).filter(divides).unwrap_or(DType::F16)
}

/// The type of that name, in any case, if there are kernels for it and GGUF has it.
pub fn dtype(name: &str) -> Option<DType> {
    let mut specs = quant::SCHEMES.iter().map(|scheme| scheme.spec());
    specs.find(|spec| spec.ggml_type.is_some() && spec.dtype.name.eq_ignore_ascii_case(name)).map(|spec| spec.dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_divide_fall_back() {
        for (scheme, cols, fitting) in [
            ("Q6_K", 512, "Q6_K"),
            ("Q6_K", 96, "Q8_0"),
            ("Q6_K", 48, "F16"),
            ("Q4_K", 96, "Q5_0"),
            ("Q4_0", 96, "Q4_0"),
            ("Q4_0", 48, "F16"),
            ("IQ4_XS", 96, "IQ4_NL"),
            ("TQ1_0", 32, "Q4_0"),
            ("F32", 7, "F32"),
        ] {
            assert_eq!(fit(types::by_name(scheme).unwrap(), cols).name, fitting, "{scheme} in rows of {cols}");
        }
    }

    #[test]
    fn a_mix_names_types_that_gguf_has() {
        for mix in MIXES {
            for name in mix.schemes().chain(mix.needs_importance.iter().copied()) {
                assert!(types::by_name(name).is_some(), "{}: {name}", mix.name);
            }
        }
        let mut numbers: Vec<u32> = MIXES.iter().map(|mix| mix.file_type).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), MIXES.len(), "two mixes have one file_type");
        for (alias, name) in ALIASES {
            assert!(MIXES.iter().any(|mix| mix.name == *name) && MIXES.iter().all(|mix| mix.name != *alias));
        }
    }
}
