//! Output in several files, as llama-gguf-split cuts one: by the tensors' sizes, metadata in the first.

use crate::formats::gguf::writer::ALIGNMENT;
use crate::formats::gguf::{Metadata, Value};
use crate::num::align_up;
use std::ops::Range;

/// Which tensors go into which file: as many as stay within `limit` bytes of data, headers not counted; a tensor that is
/// larger than that has a file to itself.
pub(super) fn cut(sizes: &[u64], limit: u64) -> Vec<Range<usize>> {
    let mut files = Vec::new();
    let (mut first, mut filled) = (0, 0u64);
    for (i, size) in sizes.iter().enumerate() {
        let size = align_up(*size, ALIGNMENT);
        if i > first && filled.saturating_add(size) > limit {
            files.push(first..i);
            (first, filled) = (i, 0);
        }
        filled = filled.saturating_add(size);
    }
    files.push(first..sizes.len());
    files
}

/// The keys of file `number`, at the end of its metadata.
pub(super) fn keys(number: usize, files: usize, tensors: usize) -> Metadata {
    vec![
        ("split.no".into(), Value::U16(number as u16)),
        ("split.tensors.count".into(), Value::I32(tensors as i32)),
        ("split.count".into(), Value::U16(files as u16)),
    ]
}

/// `stem.gguf`, or `stem-00001-of-00003.gguf`.
pub(super) fn name(stem: &str, number: usize, files: usize) -> String {
    match files {
        1 => format!("{stem}.gguf"),
        _ => format!("{stem}-{:05}-of-{files:05}.gguf", number + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_filled_up_to_the_limit() {
        assert_eq!(cut(&[32, 32, 32], 96).len(), 1);
        assert_eq!(cut(&[32, 32, 32], 95), [0..2, 2..3]);
        assert_eq!(cut(&[32, 1, 32], 95), [0..2, 2..3], "a tensor is padded to 32 bytes");
        assert_eq!(cut(&[100, 32, 100], 64), [0..1, 1..2, 2..3]);
        assert_eq!(cut(&[], 64).len(), 1);
        assert_eq!(name("a", 1, 3), "a-00002-of-00003.gguf");
        assert_eq!(name("a", 0, 1), "a.gguf");
    }
}
