//! Importance matrices: both kinds of file, and files that are none.

use phiquant::ErrorKind;
use phiquant::formats::imatrix::Importance;
use std::path::Path;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf/tiny-phi3-spm");
    std::fs::read(folder.join(name)).unwrap()
}

/// A file of the older kind with one entry.
fn legacy(name: &str, calls: i32, values: &[f32]) -> Vec<u8> {
    let mut bytes = 1i32.to_le_bytes().to_vec();
    bytes.extend((name.len() as i32).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(calls.to_le_bytes());
    bytes.extend((values.len() as i32).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// A GGUF file with these F32 tensors, each a row of values.
fn gguf(keys: bool, tensors: &[(&str, &[f32])]) -> Vec<u8> {
    use phiquant::formats::gguf::{Metadata, Value, writer};
    use phiquant::tensor::DType;
    let mut metadata: Metadata = vec![("general.type".into(), Value::String("imatrix".into()))];
    if keys {
        metadata.push(("imatrix.datasets".into(), Value::Strings(vec!["a".into()])));
        metadata.push(("imatrix.chunk_count".into(), Value::U32(3)));
        metadata.push(("imatrix.chunk_size".into(), Value::U32(512)));
    }
    let entry = |(name, values): &(&str, &[f32])| writer::Entry {
        name: (*name).into(),
        shape: vec![1, values.len() as u64],
        dtype: DType::F32,
    };
    let entries: Vec<_> = tensors.iter().map(entry).collect();
    let layout = writer::layout(&metadata, &entries).unwrap();
    let mut bytes = layout.head;
    bytes.resize(layout.size as usize, 0);
    for (offset, (_, values)) in layout.offsets.iter().zip(tensors) {
        for (i, value) in values.iter().enumerate() {
            bytes[*offset as usize + 4 * i..][..4].copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

fn kind(bytes: &[u8]) -> ErrorKind {
    let error = Importance::read("x", bytes).unwrap_err();
    assert_eq!(error.file.as_deref(), Some("x"));
    error.kind
}

#[test]
fn both_kinds_of_file_say_the_same() {
    let new = Importance::read("imatrix.gguf", &fixture("imatrix.gguf")).unwrap();
    let old = Importance::read("imatrix.dat", &fixture("imatrix.dat")).unwrap();
    assert_eq!((new.chunks, old.chunks), (11, 11));
    assert_eq!(new.datasets.len(), 2);
    assert_eq!(old.datasets, ["some-text.txt"]);
    assert!(new.entries().len() == 8 && new.entries().eq(old.entries()));
    let mut differ = Vec::new();
    for (name, _) in new.entries() {
        if new.get(name) != old.get(name) {
            differ.push(name);
        }
    }
    // What no token reached: ones in the newer kind, the sums as they are in the older one.
    assert_eq!(differ.len(), 1, "{differ:?}");
    assert!(new.get(differ[0]).unwrap().iter().all(|value| *value == 1.0));
    assert!(old.get(differ[0]).unwrap().iter().all(|value| *value == 0.0));
}

#[test]
fn sums_become_means_expert_by_expert() {
    let bytes = gguf(true, &[("a.in_sum2", &[2.0, 4.0, 6.0, 9.0, 5.0, 5.0]), ("a.counts", &[2.0, 3.0, 0.0])]);
    let read = Importance::read("x", &bytes).unwrap();
    assert_eq!(read.get("a").unwrap(), [1.0, 2.0, 2.0, 3.0, 1.0, 1.0]);
    assert_eq!((read.chunks, read.datasets), (3, vec!["a".to_owned()]));

    let read = Importance::read("x", &legacy("a", 4, &[2.0, 8.0])).unwrap();
    assert_eq!(read.get("a").unwrap(), [0.5, 2.0]);
    assert_eq!(Importance::read("x", &legacy("a", 0, &[2.0])).unwrap().get("a").unwrap(), [2.0]);
}

#[test]
fn files_that_are_no_importance_matrix() {
    for bytes in [&[][..], b"\0", b"\x01\0\0"] {
        assert_eq!(kind(bytes), ErrorKind::Truncated, "{bytes:?}");
    }
    // Counts and lengths that cannot be: none, negative, gigantic.
    for count in [0i32, -1, i32::MIN, i32::MAX] {
        assert_eq!(kind(&count.to_le_bytes()), ErrorKind::BadHeader, "{count}");
        let mut bytes = legacy("a", 1, &[1.0]);
        bytes[4..8].copy_from_slice(&count.to_le_bytes());
        assert_eq!(kind(&bytes), ErrorKind::BadHeader, "a name of {count} bytes");
    }
    for (count, expected) in [
        (0i32, ErrorKind::BadHeader),
        (-1, ErrorKind::BadHeader),
        (2, ErrorKind::Truncated),
        (i32::MAX, ErrorKind::Truncated),
    ] {
        let mut bytes = legacy("a", 1, &[1.0]);
        bytes[13..17].copy_from_slice(&count.to_le_bytes());
        assert_eq!(kind(&bytes), expected, "{count} values");
    }
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        assert_eq!(kind(&legacy("a", 1, &[1.0, bad])), ErrorKind::NotFinite);
        assert_eq!(kind(&gguf(true, &[("a.in_sum2", &[bad]), ("a.counts", &[1.0])])), ErrorKind::NotFinite);
    }
    let mut twice = legacy("a", 1, &[1.0]);
    let entry = twice[4..].to_vec();
    twice.extend(entry);
    twice[0] = 2;
    assert_eq!(kind(&twice), ErrorKind::BadHeader);
    assert_eq!(
        kind(&legacy("\u{fffd}", 1, &[1.0]).replace_bytes(&[0xef, 0xbf, 0xbd], &[0xff, 0xff, 0xff])),
        ErrorKind::BadHeader
    );

    for tensors in [
        &[][..],
        &[("a.in_sum2", &[1.0][..])],
        &[("a.counts", &[1.0][..])],
        &[("a.in_sum2", &[1.0, 2.0, 3.0][..]), ("a.counts", &[1.0, 1.0][..])],
    ] {
        assert_eq!(kind(&gguf(true, tensors)), ErrorKind::BadHeader, "{tensors:?}");
    }
    assert_eq!(kind(&gguf(false, &[("a.in_sum2", &[1.0]), ("a.counts", &[1.0])])), ErrorKind::BadHeader);
}

/// Every beginning of a good file, and every byte of it changed, is an error or a matrix, and nothing else.
#[test]
fn damage_is_an_error_and_no_panic() {
    for file in ["imatrix.gguf", "imatrix.dat"] {
        let good = fixture(file);
        for end in 0..good.len() {
            let _ = Importance::read("x", &good[..end]);
        }
        let mut bytes = good.clone();
        for at in 0..good.len().min(1200) {
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] ^= flip;
                let _ = Importance::read("x", &bytes);
                bytes[at] = good[at];
            }
        }
    }
}

trait Replace {
    fn replace_bytes(self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace_bytes(mut self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = self.windows(from.len()).position(|window| window == from).unwrap();
        self[at..at + to.len()].copy_from_slice(to);
        self
    }
}
