//! Mixes: which type each tensor gets, as llama-quantize (llama.cpp `src/llama-quant.cpp`) chooses it. A mix is a line of data.

use crate::quant;
use crate::tensor::DType;

/// A file type as llama-quantize names it.
#[derive(Debug)]
pub struct Mix {
    pub name: &'static str,
    /// `general.file_type` (`enum llama_ftype`).
    pub file_type: u32,
    /// The type of every matrix without an exception.
    pub base: &'static str,
    /// The type of the output matrix, or of a tied embedding.
    pub output: &'static str,
    /// The first that applies wins.
    pub exceptions: &'static [Exception],
    /// One line for a person who chooses.
    pub summary: &'static str,
}

/// Matrices of one kind, in some layers, that get another type.
#[derive(Debug)]
pub struct Exception {
    pub matrix: Matrix,
    /// Of the layer's number and the count of layers.
    pub layers: fn(usize, usize) -> bool,
    pub scheme: &'static str,
}

/// What a matrix is for, as far as mixes tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    Output,
    TokenEmbedding,
    AttentionQkv,
    AttentionOutput,
    FfnUp,
    FfnDown,
}

/// Every mix. One that needs a scheme that [`quant::SCHEMES`] does not have is not offered.
pub static MIXES: &[Mix] = &[
    plain("F32", 0, "the reference: exact, and the largest"),
    plain("F16", 1, "half the size of F32; what llama.cpp users convert from"),
    plain("BF16", 32, "as most checkpoints are stored: exact for them"),
    Mix {
        name: "Q8_0",
        file_type: 7,
        base: "Q8_0",
        output: "Q8_0",
        exceptions: &[],
        summary: "a quarter of F32, hardly to be told from the original",
    },
    Mix {
        name: "Q6_K",
        file_type: 18,
        base: "Q6_K",
        output: "Q6_K",
        exceptions: &[],
        summary: "very close to the original, smaller than Q8_0",
    },
    Mix {
        name: "Q4_0",
        file_type: 2,
        base: "Q4_0",
        output: "Q6_K",
        exceptions: &[],
        summary: "small and fast; the output matrix stays Q6_K",
    },
];

const fn plain(name: &'static str, file_type: u32, summary: &'static str) -> Mix {
    Mix { name, file_type, base: name, output: name, exceptions: &[], summary }
}

/// The mix of that name, in any case.
pub fn by_name(name: &str) -> Option<&'static Mix> {
    available().find(|mix| mix.name.eq_ignore_ascii_case(name))
}

/// The mixes whose schemes exist.
pub fn available() -> impl Iterator<Item = &'static Mix> {
    let known = |name: &str| quant::by_name(name).is_some();
    MIXES.iter().filter(move |mix| {
        known(mix.base) && known(mix.output) && mix.exceptions.iter().all(|exception| known(exception.scheme))
    })
}

impl Mix {
    /// Whether convert_hf_to_gguf.py writes this type, so that llama-quantize has no part in it.
    pub fn is_plain(&self) -> bool {
        matches!(self.base, "F32" | "F16" | "BF16")
    }

    /// The scheme for a matrix, whatever its shape. `tied`: the embedding serves as output. `layer` is of no account
    /// outside the layers.
    pub fn choose(&self, matrix: Matrix, layer: usize, layers: usize, tied: bool) -> &'static str {
        if matrix == Matrix::Output || (tied && matrix == Matrix::TokenEmbedding) {
            return self.output;
        }
        let exception = self.exceptions.iter().find(|e| e.matrix == matrix && (e.layers)(layer, layers));
        exception.map_or(self.base, |exception| exception.scheme)
    }
}

/// The type that llama-quantize falls back to where rows of `cols` weights do not divide into `name`'s blocks.
pub fn fit(name: &'static str, cols: u64) -> &'static str {
    let divides = |name: &str| quant::by_name(name).is_some_and(|s| s.spec().dtype.row_bytes(cols).is_some());
    if divides(name) {
        return name;
    }
    let smaller = match name {
        "Q6_K" => "Q8_0",
        "Q5_K" => "Q5_1",
        "Q4_K" => "Q5_0",
        "Q3_K" | "Q2_K" => "Q4_0",
        other => other,
    };
    if divides(smaller) { smaller } else { "F16" }
}

/// The dtype of a scheme that [`available`] or [`fit`] named.
pub fn dtype(name: &str) -> Option<DType> {
    quant::by_name(name).filter(|scheme| scheme.spec().ggml_type.is_some()).map(|scheme| scheme.spec().dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_a_line_of_data() {
        // llama-quantize's rule for "more bits": the first and last eighth of the layers, and every third between.
        let more_bits = |i: usize, n: usize| i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
        let exceptions = [Matrix::AttentionQkv, Matrix::FfnDown];
        let exceptions = exceptions.map(|matrix| Exception { matrix, layers: more_bits, scheme: "Q6_K" });
        let exceptions = Box::leak(Box::new(exceptions));
        let mix = Mix { name: "Q4_K_M", file_type: 15, base: "Q4_K", output: "Q6_K", exceptions, summary: "" };
        // What llama-quantize chose for a model of four layers.
        for (layer, scheme) in ["Q4_K", "Q4_K", "Q6_K", "Q6_K"].into_iter().enumerate() {
            assert_eq!(mix.choose(Matrix::AttentionQkv, layer, 4, false), scheme);
            assert_eq!(mix.choose(Matrix::FfnDown, layer, 4, false), scheme);
            assert_eq!(mix.choose(Matrix::FfnUp, layer, 4, false), "Q4_K");
        }
        assert_eq!(mix.choose(Matrix::TokenEmbedding, 0, 4, false), "Q4_K");
        assert_eq!(mix.choose(Matrix::TokenEmbedding, 0, 4, true), "Q6_K");
        assert_eq!(mix.choose(Matrix::Output, 0, 4, false), "Q6_K");
    }

    #[test]
    fn rows_that_do_not_divide_fall_back() {
        for (scheme, cols, fitting) in [
            ("Q6_K", 512, "Q6_K"),
            ("Q6_K", 96, "Q8_0"),
            ("Q6_K", 48, "F16"),
            ("Q4_0", 96, "Q4_0"),
            ("Q4_0", 48, "F16"),
            ("F32", 7, "F32"),
        ] {
            assert_eq!(fit(scheme, cols), fitting, "{scheme} in rows of {cols}");
        }
    }
}
