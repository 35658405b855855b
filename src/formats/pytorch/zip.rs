//! The zip archive around `torch.save`'s records (PKWARE's APPNOTE 6.3; torch/csrc, `PyTorchStreamWriter`): nothing compressed,
//! each record's bytes aligned to 64. Archives that were packed again by another program are refused.

use crate::bail;
use crate::error::Result;
use std::collections::HashMap;
use std::ops::Range;

/// The end record with the longest comment, and before it zip64's locator.
const TAIL: u64 = 22 + 65_535 + 20;
/// zip64's end record lies before its locator; torch writes 56 bytes of it.
const BEFORE: u64 = 4096;
const MAX_DIRECTORY: u64 = 1 << 26;
const MAX_RECORDS: u64 = 1 << 20;
const ALIGNMENT: u64 = 64;

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?).into())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The end of the file, where the directory's place is written.
pub(super) struct EndReader {
    size: u64,
}

/// Where the directory is.
pub(super) struct Directory {
    pub span: Range<u64>,
    pub records: u64,
}

impl EndReader {
    pub fn new(size: u64) -> Result<Self> {
        if size < 22 {
            bail!(Truncated, "the file has {size} bytes: too few for a zip archive");
        }
        Ok(Self { size })
    }

    pub fn span(&self) -> Range<u64> {
        self.size.saturating_sub(TAIL + BEFORE)..self.size
    }

    pub fn read(&self, start: u64, bytes: &[u8]) -> Result<Directory> {
        // The last one that its comment makes end with the file.
        let ends = |at: &usize| {
            bytes[*at..].starts_with(b"PK\x05\x06") && u16_at(bytes, at + 20) == Some((bytes.len() - at - 22) as u64)
        };
        let Some(end) = (0..=bytes.len().saturating_sub(22)).rev().find(ends) else {
            bail!(Truncated, "the zip archive has no directory at its end: the download or copy is incomplete");
        };
        let narrow = (u16_at(bytes, end + 10), u32_at(bytes, end + 12), u32_at(bytes, end + 16));
        let (Some(mut records), Some(mut length), Some(mut offset)) = narrow else {
            bail!(Truncated, "the zip archive's end is cut off");
        };
        let mut most = start + end as u64;
        // zip64 has the large numbers, where there is one.
        let locator = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(b"PK\x06\x07"));
        if let Some(locator) = locator {
            let place = u64_at(bytes, locator + 8).and_then(|place| place.checked_sub(start));
            let at = place.and_then(|place| usize::try_from(place).ok()).filter(|&at| at + 56 <= locator);
            let Some(at) = at.filter(|&at| bytes[at..].starts_with(b"PK\x06\x06")) else {
                bail!(BadHeader, "the zip archive's zip64 record is not where its locator says");
            };
            let wide = (u64_at(bytes, at + 32), u64_at(bytes, at + 40), u64_at(bytes, at + 48));
            let (Some(r), Some(l), Some(o)) = wide else { bail!(BadHeader, "the zip64 record is cut off") };
            (records, length, offset) = (r, l, o);
            most = start + at as u64;
        }
        if records == 0 || records > MAX_RECORDS || length > MAX_DIRECTORY {
            bail!(BadHeader, "the zip archive promises {records} records in a directory of {length} bytes");
        }
        match offset.checked_add(length) {
            Some(end) if end <= most => Ok(Directory { span: offset..end, records }),
            _ => bail!(BadHeader, "the zip archive's directory of {length} bytes is not at byte {offset}"),
        }
    }
}

/// The records by name, without the archive's own folder.
pub(super) struct Archive {
    records: HashMap<String, Range<u64>>,
}

/// A line of the directory.
struct Line {
    name: String,
    /// Of the local header.
    offset: u64,
    size: u64,
    /// Whether a descriptor follows the data: of 16 bytes, or of 24 where sizes or places pass 32 bits.
    described: bool,
}

impl Archive {
    /// `directory` is the archive's, at byte `end` of the file.
    pub fn read(directory: &[u8], count: u64, end: u64) -> Result<Self> {
        let mut lines = Vec::new();
        let mut at = 0;
        for index in 0..count {
            match line(directory, &mut at) {
                Some(line) => lines.push(line?),
                None => bail!(BadHeader, "the zip archive's directory ends at record {index} of {count}"),
            }
        }
        lines.sort_by_key(|line| line.offset);
        let mut records = HashMap::new();
        for (i, line) in lines.iter().enumerate() {
            // Records follow one another, so that a record's end tells its beginning; torch aligns that.
            let next = lines.get(i + 1).map_or(end, |next| next.offset);
            let least = line.offset + 30 + line.name.len() as u64;
            let behind: &[u64] = if line.described { &[16, 24] } else { &[0] };
            let places = behind.iter().filter_map(|bytes| next.checked_sub(line.size)?.checked_sub(*bytes));
            let fits =
                |start: &u64| *start >= least && start - least < 2 * ALIGNMENT && start.is_multiple_of(ALIGNMENT);
            let Some(start) = places.into_iter().find(fits) else {
                bail!(
                    Unsupported,
                    "the record {:?} is not where torch.save puts it: another program packed this archive. Save it again with torch, or convert it to safetensors",
                    line.name
                );
            };
            // archive/data/0: the folder has the file's name.
            let name = line.name.split_once('/').map_or(line.name.as_str(), |(_, rest)| rest);
            if records.insert(name.to_owned(), start..start + line.size).is_some() {
                bail!(BadHeader, "the zip archive has the record {name:?} twice");
            }
        }
        let archive = Self { records };
        // "little" or "big".
        if archive.records.get("byteorder").is_some_and(|span| span.end - span.start != 6) {
            bail!(Unsupported, "the weights are in big-endian order: save them again on a little-endian machine");
        }
        Ok(archive)
    }

    pub fn pickle(&self) -> Result<Range<u64>> {
        match self.records.get("data.pkl") {
            Some(span) => Ok(span.clone()),
            None => bail!(BadHeader, "the zip archive has no data.pkl: it was not made by torch.save"),
        }
    }

    /// A storage's bytes.
    pub fn storage(&self, key: &str) -> Option<Range<u64>> {
        self.records.get(&format!("data/{key}")).cloned()
    }
}

/// The directory's next line; `None` where it is cut off.
fn line(bytes: &[u8], at: &mut usize) -> Option<Result<Line>> {
    let head = bytes.get(*at..*at + 46)?;
    if !head.starts_with(b"PK\x01\x02") {
        return None;
    }
    let [flags, method] = [8, 10].map(|at| u16_at(head, at).unwrap_or(0));
    let [packed, size, offset] = [20, 24, 42].map(|at| u32_at(head, at).unwrap_or(0));
    let [name, extra, comment] = [28, 30, 32].map(|at| u16_at(head, at).unwrap_or(0) as usize);
    let rest = bytes.get(*at + 46..*at + 46 + name + extra + comment)?;
    *at += 46 + name + extra + comment;
    Some(parse(flags, method, [size, packed, offset], &rest[..name], &rest[name..name + extra]))
}

fn parse(flags: u64, method: u64, mut numbers: [u64; 3], name: &[u8], mut extra: &[u8]) -> Result<Line> {
    let Ok(name) = std::str::from_utf8(name) else { bail!(BadHeader, "a name in the zip archive is no UTF-8") };
    // zip64 has those of the three that did not fit into 32 bits, in this order.
    while let (Some(kind), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(field) = extra.get(4..4 + length as usize) else { break };
        if kind == 1 {
            let mut place = 0;
            for number in numbers.iter_mut().filter(|number| **number == u64::from(u32::MAX)) {
                let Some(value) = u64_at(field, place) else {
                    bail!(BadHeader, "the record {name:?} lacks its size in 64 bits");
                };
                *number = value;
                place += 8;
            }
        }
        extra = &extra[4 + length as usize..];
    }
    let [size, packed, offset] = numbers;
    if method != 0 || packed != size {
        bail!(Unsupported, "the record {name:?} is compressed, which torch.save never does: convert it to safetensors");
    }
    if flags & 1 != 0 {
        bail!(Unsupported, "the record {name:?} is encrypted");
    }
    if offset > u64::MAX / 4 || size > u64::MAX / 4 {
        bail!(BadHeader, "the record {name:?} has {size} bytes at {offset}");
    }
    Ok(Line { name: name.to_owned(), offset, size, described: flags & 8 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the directory as torch writes it, in 64 bits where 32 are too few.
    fn line(name: &str, size: u64, offset: u64) -> Vec<u8> {
        let wide = u64::from(u32::MAX);
        let mut extra = Vec::new();
        if size >= wide {
            extra.extend([size.to_le_bytes(), size.to_le_bytes()].concat());
        }
        if offset >= wide {
            extra.extend(offset.to_le_bytes());
        }
        if !extra.is_empty() {
            extra.splice(0..0, [1, 0, extra.len() as u8, 0]);
        }
        let mut bytes = vec![0; 46];
        bytes[..4].copy_from_slice(b"PK\x01\x02");
        bytes[8..10].copy_from_slice(&2056u16.to_le_bytes());
        for at in [20, 24] {
            bytes[at..at + 4].copy_from_slice(&(size.min(wide) as u32).to_le_bytes());
        }
        bytes[42..46].copy_from_slice(&(offset.min(wide) as u32).to_le_bytes());
        bytes[28..30].copy_from_slice(&(name.len() as u16).to_le_bytes());
        bytes[30..32].copy_from_slice(&(extra.len() as u16).to_le_bytes());
        [bytes, name.as_bytes().to_vec(), extra].concat()
    }

    /// The places of torch.save({'a': zeros(3), 'big': zeros(2200000000, dtype=float16), 'z': ones(5), 'y': ones(7).half()}, …),
    /// torch 2.15.0: 4.4 GB.
    #[test]
    fn records_beyond_four_gigabytes() {
        let lines = [
            ("x/data.pkl", 365, 0),
            ("x/data/0", 12, 790),
            ("x/data/1", 4_400_000_000, 924),
            ("x/data/2", 20, 4_400_001_048),
            ("x/data/3", 14, 4_400_001_196),
            ("x/version", 2, 4_400_001_318),
        ];
        let directory: Vec<u8> = lines.iter().flat_map(|(name, size, offset)| line(name, *size, *offset)).collect();
        // The second record's place shows that the descriptor's length is found out: behind it lies one of 16 bytes.
        let archive = Archive::read(&directory, lines.len() as u64, 4_400_001_434);
        // What lay between the first two is missing here, so the first one's end is not known.
        assert_eq!(archive.err().map(|e| e.kind), Some(crate::ErrorKind::Unsupported));
        let rest: Vec<u8> = lines[1..].iter().flat_map(|(name, size, offset)| line(name, *size, *offset)).collect();
        let archive = Archive::read(&rest, 5, 4_400_001_434).unwrap();
        assert_eq!(archive.storage("0"), Some(896..908));
        assert_eq!(archive.storage("1"), Some(1024..4_400_001_024));
        assert_eq!(archive.storage("2"), Some(4_400_001_152..4_400_001_172));
        assert_eq!(archive.storage("3"), Some(4_400_001_280..4_400_001_294));
        assert_eq!(archive.storage("4"), None);
        assert_eq!(archive.pickle().unwrap_err().kind, crate::ErrorKind::BadHeader);

        // The end of such a file: zip64's record, its locator, and a record whose numbers are all ones.
        let mut end = vec![0u8; 56];
        end[..4].copy_from_slice(b"PK\x06\x06");
        end[32..40].copy_from_slice(&5u64.to_le_bytes());
        end[40..48].copy_from_slice(&(rest.len() as u64).to_le_bytes());
        end[48..56].copy_from_slice(&4_400_001_434u64.to_le_bytes());
        let place = 4_400_001_434 + rest.len() as u64;
        let locator = [&b"PK\x06\x07\0\0\0\0"[..], &place.to_le_bytes(), &1u32.to_le_bytes()].concat();
        let last = [&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], &[0; 2]].concat();
        let tail = [rest.clone(), end, locator, last].concat();
        let start = 4_400_001_434;
        let reader = EndReader::new(start + tail.len() as u64).unwrap();
        let directory = reader.read(start, &tail).unwrap();
        assert_eq!((directory.span, directory.records), (start..place, 5));
    }
}
