//! The types that a tensor in a GGUF file may have (`enum ggml_type` in ggml.h).

use crate::quant;
use crate::tensor::DType;

/// `(number, name, elements per block, bytes per block)`: the types that the ggml in llama-cpp-python 0.3.36 knows and [`quant::SCHEMES`] may not.
/// Their sizes let the reader check a header; whoever needs such a tensor says `Unsupported` with the type's name.
const OTHERS: &[(u32, &str, usize, usize)] = &[
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

/// The three that are stored as they are computed, whatever schemes there are.
const PLAIN: &[(u32, DType)] = &[(0, DType::F32), (1, DType::F16), (30, DType::BF16)];

/// The type with that number.
pub fn by_number(number: u32) -> Option<DType> {
    if let Some(scheme) = quant::by_ggml_type(number) {
        return Some(scheme.spec().dtype);
    }
    if let Some((_, dtype)) = PLAIN.iter().find(|(n, _)| *n == number) {
        return Some(*dtype);
    }
    let &(_, name, group, group_bytes) = OTHERS.iter().find(|(n, ..)| *n == number)?;
    Some(DType { name, group, group_bytes })
}

/// The type of that name, whether there are kernels for it or not.
pub fn by_name(name: &str) -> Option<DType> {
    if let Some((_, dtype)) = PLAIN.iter().find(|(_, dtype)| dtype.name == name) {
        return Some(*dtype);
    }
    let &(_, name, group, group_bytes) = OTHERS.iter().find(|(_, other, ..)| *other == name)?;
    Some(DType { name, group, group_bytes })
}

/// The number of a type.
pub fn number(dtype: DType) -> Option<u32> {
    let scheme = quant::by_name(dtype.name).and_then(|scheme| scheme.spec().ggml_type);
    let plain = || PLAIN.iter().find(|(_, plain)| *plain == dtype).map(|(n, _)| *n);
    let other = || OTHERS.iter().find(|(_, name, ..)| *name == dtype.name).map(|(n, ..)| *n);
    scheme.or_else(plain).or_else(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_agree_with_ggml() {
        for &(n, name, group, group_bytes) in OTHERS {
            assert_eq!(by_number(n), Some(DType { name, group, group_bytes }), "a scheme differs from ggml's {name}");
            assert_eq!(number(DType { name, group, group_bytes }), Some(n));
        }
        for &(n, dtype) in PLAIN {
            assert_eq!(by_number(n), Some(dtype));
            assert_eq!(number(dtype), Some(n));
        }
        for gone in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(by_number(gone), None);
        }
    }
}
