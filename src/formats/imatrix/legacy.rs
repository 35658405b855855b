//! The kind of file that llama-imatrix wrote before it wrote GGUF.

use super::{Importance, MAX_ENTRIES};
use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// Bytes of a name.
const MAX_NAME: usize = 1 << 12;

/// Nothing is reserved by a length before the bytes are known to be there.
pub(super) fn read(bytes: &[u8]) -> Result<Importance> {
    let mut rest = bytes;
    let count = number(&mut rest)?;
    if !(1..=MAX_ENTRIES as i32).contains(&count) {
        bail!(BadHeader, "this is no importance matrix: it does not begin with GGUF, nor with a count of entries");
    }
    let mut entries = BTreeMap::new();
    for index in 0..count {
        let name = text(&mut rest)?;
        if name.is_empty() {
            bail!(BadHeader, "entry {index} of the importance matrix has no name");
        }
        let place = |e: Error| e.in_tensor(name.clone());
        let calls = number(&mut rest).map_err(place)?;
        let values = number(&mut rest).map_err(place)?;
        let length = usize::try_from(values).ok().filter(|&n| n > 0).and_then(|n| n.checked_mul(4));
        let Some(length) = length else {
            return Err(place(Error::new(ErrorKind::BadHeader, format!("{values} values cannot be"))));
        };
        let data = take(&mut rest, length).map_err(place)?;
        // The sums hold the mean times the calls.
        let calls = if calls > 0 { calls as f32 } else { 1.0 };
        let mean = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]) / calls;
        if entries.insert(name.clone(), data.chunks_exact(4).map(mean).collect()).is_some() {
            return Err(place(Error::new(ErrorKind::BadHeader, "the importance matrix has this tensor twice")));
        }
    }
    // Older files end here.
    let (mut chunks, mut datasets) = (0, Vec::new());
    if !rest.is_empty() {
        chunks = u32::try_from(number(&mut rest)?).unwrap_or(0);
        if !rest.is_empty() {
            datasets.extend(Some(text(&mut rest)?).filter(|name| !name.is_empty()));
        }
    }
    Ok(Importance { file: String::new(), datasets, chunks, entries })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let Some((taken, after)) = rest.split_at_checked(length) else {
        bail!(Truncated, "the importance matrix ends {} bytes too early at least", length - rest.len());
    };
    *rest = after;
    Ok(taken)
}

fn number(rest: &mut &[u8]) -> Result<i32> {
    let bytes = take(rest, 4)?;
    Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn text(rest: &mut &[u8]) -> Result<String> {
    let length = number(rest)?;
    let Some(length) = usize::try_from(length).ok().filter(|&n| n <= MAX_NAME) else {
        bail!(BadHeader, "a name of {length} bytes cannot be in an importance matrix; {MAX_NAME} are the most");
    };
    match std::str::from_utf8(take(rest, length)?) {
        // Names end at the first zero, as in C.
        Ok(text) => Ok(text.split('\0').next().unwrap_or_default().to_owned()),
        Err(_) => bail!(BadHeader, "a name in the importance matrix is no UTF-8"),
    }
}
