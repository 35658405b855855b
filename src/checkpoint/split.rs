//! GGUF in several files, as llama-gguf-split cuts them: `NAME-00001-of-00003.gguf`, with the metadata in the first.

use crate::error::{Error, ErrorKind, Result};
use crate::formats::Header;
use crate::formats::gguf::{Value, find};

/// Files that one may be cut into: their number is in sixteen bits.
const MAX_FILES: usize = 1 << 16;

/// `NAME-00002-of-00003`: the name, the number from 1 on, and the count.
pub(super) fn parse(stem: &str) -> Option<(&str, usize, usize)> {
    let digits = |text: &str| {
        let fine = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        if fine { text.parse::<usize>().ok() } else { None }
    };
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let (number, count) = (digits(number)?, digits(count)?);
    (number >= 1 && number <= count && count < MAX_FILES).then_some((name, number, count))
}

/// The other way round.
pub(super) fn name(name: &str, number: usize, count: usize) -> String {
    format!("{name}-{number:05}-of-{count:05}")
}

/// The files are all there, in their order, and say so themselves.
pub(super) fn check(files: &[String], headers: &[Header]) -> Result<()> {
    let number = |header: &Header, key: &str| find(&header.metadata, key).and_then(Value::as_u64);
    let count = number(&headers[0], "split.count").unwrap_or(1).max(1);
    let fault = |file: &str, what: String| Err(Error::new(ErrorKind::BadHeader, what).in_file(file));
    if count == 1 && headers.len() == 1 {
        return Ok(());
    }
    if count != headers.len() as u64 {
        let what = format!("the model is in {count} files, and {} were given: open all of them", headers.len());
        return Err(Error::new(ErrorKind::MissingFile, what).in_file(files[0].clone()));
    }
    for (place, (file, header)) in files.iter().zip(headers).enumerate() {
        match number(header, "split.no") {
            Some(no) if no == place as u64 => {}
            Some(no) => return fault(file, format!("by its name this is part {}, by split.no {}", place + 1, no + 1)),
            None => return fault(file, "split.no is missing: this is no part of a split model".into()),
        }
    }
    let tensors: usize = headers.iter().map(|header| header.tensors.len()).sum();
    match number(&headers[0], "split.tensors.count") {
        Some(promised) if promised != tensors as u64 => {
            fault(&files[0], format!("the parts have {tensors} tensors; split.tensors.count says {promised}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        assert_eq!(parse("a-b-00002-of-00003"), Some(("a-b", 2, 3)));
        for no in ["a-00000-of-00003", "a-00004-of-00003", "a-2-of-3", "a-0000x-of-00003", "a", "a-00001-of-99999"] {
            assert_eq!(parse(no), None, "{no}");
        }
        assert_eq!(name("a-b", 2, 3), "a-b-00002-of-00003");
    }
}
