//! Hostile and damaged headers: a literal byte string for every kind of fault, cuts at every byte, random damage, and one
//! byte at a time. Nothing panics, and nothing is allocated because a file says so.

use phiquant::formats::{Header, HeaderReader, Need, gguf, safetensors};
use phiquant::{Error, ErrorKind, Result};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The tests of this file take turns, since the allocator counts for all threads.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

type Make = fn(Option<u64>) -> Box<dyn HeaderReader>;
const SAFETENSORS: Make = |size| Box::new(safetensors::Reader::new(size));
const GGUF: Make = |size| Box::new(gguf::Reader::new(size));

/// Reads a header in pieces of `step` bytes.
fn read(make: Make, bytes: &[u8], size: Option<u64>, step: usize) -> Result<Header> {
    let mut reader = make(size);
    for piece in bytes.chunks(step.max(1)) {
        if reader.push(piece)? == Need::Nothing {
            break;
        }
    }
    reader.finish()
}

/// The error, the same however the bytes come.
fn fault(make: Make, bytes: &[u8], size: Option<u64>) -> Error {
    let whole = read(make, bytes, size, usize::MAX).expect_err("the header is faulty");
    for step in [1, 2, 7] {
        assert_eq!(read(make, bytes, size, step), Err(whole.clone()), "in steps of {step}");
    }
    whole
}

fn tensors_file(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

const TWO: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"e":{"dtype":"I64","shape":[0,9],"data_offsets":[28,28]}}"#;

#[test]
fn a_safetensors_header_is_read() {
    let _turn = alone();
    let bytes = tensors_file(TWO, 28);
    let start = 8 + TWO.len() as u64;
    for step in [1, 3, 8, 100, usize::MAX] {
        let header = read(SAFETENSORS, &bytes, Some(bytes.len() as u64), step).unwrap();
        let seen: Vec<_> = header.tensors.iter().map(|t| (t.name.as_str(), t.dtype.name, t.span.clone())).collect();
        let expected = [
            ("a", "BF16", start..start + 4),
            ("b", "F32", start + 4..start + 28),
            ("e", "I64", start + 28..start + 28),
        ];
        assert_eq!(seen, expected, "in file order");
        assert_eq!((header.tensors[1].rows(), header.tensors[1].cols()), (2, 3));
        assert_eq!(header.metadata, [("format".to_owned(), gguf::Value::String("pt".into()))]);
        assert_eq!(header.data_start, start);
    }
}

#[test]
fn the_reader_says_how_much_it_wants() {
    let _turn = alone();
    let bytes = tensors_file(TWO, 28);
    let mut reader = safetensors::Reader::new(None);
    assert_eq!(reader.push(&bytes[..3]).unwrap(), Need::More(5));
    assert_eq!(reader.push(&bytes[3..10]).unwrap(), Need::More(TWO.len() as u64 - 2));
    assert_eq!(reader.push(&bytes[10..]).unwrap(), Need::Nothing);
    assert_eq!(reader.push(b"more").unwrap(), Need::Nothing);

    let mut reader = gguf::Reader::new(None);
    assert_eq!(reader.push(b"GGU").unwrap(), Need::More(1));
    assert_eq!(reader.push(b"F").unwrap(), Need::More(4));
}

#[test]
fn every_fault_of_a_safetensors_header() {
    let _turn = alone();
    use ErrorKind::{BadHeader, Truncated};
    let file = |json: &str| tensors_file(json, 64);
    let one = |rest: &str| file(&format!(r#"{{"t":{{"dtype":"F32",{rest}}}}}"#));
    let cases: &[(&str, Vec<u8>, ErrorKind, &str)] = &[
        ("nothing", vec![], Truncated, "within its header"),
        ("half a length", vec![1, 2, 3], Truncated, "within its header"),
        ("gigantic length", vec![0xff; 16], BadHeader, "100000000"),
        ("length past the cap", [&100_000_001u64.to_le_bytes()[..], b"{}"].concat(), BadHeader, "100000000"),
        ("no length", vec![0; 16], BadHeader, "the least"),
        ("not JSON", file("{]"), BadHeader, "safetensors"),
        ("not an object", file("[]"), BadHeader, "begin"),
        ("HTML", b"<!DOCTYPE html><html>".to_vec(), BadHeader, "100000000"),
        (
            "not UTF-8",
            tensors_file("{\"a\":1}", 0).iter().map(|&b| if b == b'a' { 0xff } else { b }).collect(),
            BadHeader,
            "safetensors",
        ),
        (
            "two of a name",
            file(
                r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            ),
            BadHeader,
            "twice",
        ),
        ("two shapes", one(r#""shape":[1],"shape":[2],"data_offsets":[0,4]"#), BadHeader, "twice"),
        ("no shape", one(r#""data_offsets":[0,4]"#), BadHeader, "shape"),
        ("no offsets", one(r#""shape":[1]"#), BadHeader, "data_offsets"),
        ("no dtype", file(r#"{"t":{"shape":[1],"data_offsets":[0,4]}}"#), BadHeader, "dtype"),
        ("unknown dtype", file(r#"{"t":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#), BadHeader, "F99"),
        ("negative size", one(r#""shape":[-1],"data_offsets":[0,4]"#), BadHeader, "invalid"),
        ("fractional size", one(r#""shape":[1.5],"data_offsets":[0,4]"#), BadHeader, "invalid"),
        ("too many dimensions", one(r#""shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]"#), BadHeader, "8 dimensions"),
        ("product overflows", one(r#""shape":[4294967296,4294967296],"data_offsets":[0,4]"#), BadHeader, "64 bits"),
        ("bytes overflow", one(r#""shape":[4611686018427387904],"data_offsets":[0,4]"#), BadHeader, "too many"),
        ("three offsets", one(r#""shape":[1],"data_offsets":[0,4,8]"#), BadHeader, "safetensors"),
        ("ends before it begins", one(r#""shape":[1],"data_offsets":[8,4]"#), BadHeader, "before it begins"),
        ("size and span differ", one(r#""shape":[2],"data_offsets":[0,4]"#), BadHeader, "takes 8 bytes"),
        ("hole at the start", one(r#""shape":[1],"data_offsets":[4,8]"#), BadHeader, "hole"),
        (
            "hole between",
            file(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#,
            ),
            BadHeader,
            "hole",
        ),
        (
            "overlap",
            file(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            ),
            BadHeader,
            "overlaps",
        ),
        (
            "past 64 bits",
            one(r#""shape":[1],"data_offsets":[18446744073709551611,18446744073709551615]"#),
            BadHeader,
            "64 bits",
        ),
        (
            "deep nesting",
            file(&format!(r#"{{"t":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000))),
            BadHeader,
            "safetensors",
        ),
    ];
    for (what, bytes, kind, word) in cases {
        let error = fault(SAFETENSORS, bytes, None);
        assert_eq!(error.kind, *kind, "{what}: {error}");
        assert!(error.message.contains(word), "{what}: {error}");
    }
    // The file's length, where it is known, is believed over the header.
    let bytes = tensors_file(TWO, 28);
    let size = bytes.len() as u64;
    assert_eq!(fault(SAFETENSORS, &bytes, Some(size - 1)).kind, Truncated);
    assert_eq!(fault(SAFETENSORS, &bytes, Some(size + 1)).kind, BadHeader);
    assert_eq!(fault(SAFETENSORS, &bytes[..20], Some(20)).kind, Truncated);
}

/// Little pieces of a GGUF file.
mod piece {
    pub fn text(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text].concat()
    }
    pub fn start(version: u32, tensors: u64, keys: u64) -> Vec<u8> {
        [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
    }
    pub fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [&text(name.as_bytes())[..], &kind.to_le_bytes(), value].concat()
    }
    pub fn array(element: u32, count: u64, values: &[u8]) -> Vec<u8> {
        [&element.to_le_bytes()[..], &count.to_le_bytes(), values].concat()
    }
    pub fn tensor(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        [
            &text(name.as_bytes())[..],
            &(dims.len() as u32).to_le_bytes(),
            &dims_bytes,
            &kind.to_le_bytes(),
            &offset.to_le_bytes(),
        ]
        .concat()
    }
}
use piece::{array, key, start, tensor, text};

/// Every type of value, and two tensors.
fn small_gguf() -> Vec<u8> {
    let keys = [
        key("u8", 0, &[7]),
        key("i8", 1, &[0xff]),
        key("u16", 2, &[1, 2]),
        key("i16", 3, &[0xff, 0xff]),
        key("u32", 4, &5u32.to_le_bytes()),
        key("i32", 5, &(-5i32).to_le_bytes()),
        key("f32", 6, &1.5f32.to_le_bytes()),
        key("bool", 7, &[1]),
        key("text", 8, &text("grüße".as_bytes())),
        key("u64", 10, &9u64.to_le_bytes()),
        key("i64", 11, &(-9i64).to_le_bytes()),
        key("f64", 12, &2.5f64.to_le_bytes()),
        key("texts", 9, &array(8, 2, &[text(b"a"), text(b"")].concat())),
        key("floats", 9, &array(6, 2, &[1.0f32.to_le_bytes(), 2.0f32.to_le_bytes()].concat())),
        key("ints", 9, &array(5, 1, &3i32.to_le_bytes())),
        key("bytes", 9, &array(0, 3, &[1, 2, 3])),
        key("none", 9, &array(8, 0, &[])),
    ];
    let mut bytes = start(3, 2, keys.len() as u64);
    bytes.extend(keys.concat());
    bytes.extend(tensor("m", &[32, 2], 8, 0));
    bytes.extend(tensor("n", &[3], 0, 96));
    bytes
}

#[test]
fn a_gguf_header_is_read() {
    let _turn = alone();
    let bytes = small_gguf();
    let whole = read(GGUF, &bytes, None, usize::MAX).unwrap();
    for step in 1..50 {
        assert_eq!(read(GGUF, &bytes, None, step).unwrap(), whole);
    }
    assert_eq!(whole.metadata.len(), 17);
    assert_eq!(gguf::find(&whole.metadata, "text"), Some(&gguf::Value::String("grüße".into())));
    assert_eq!(gguf::find(&whole.metadata, "i32"), Some(&gguf::Value::I32(-5)));
    assert_eq!(gguf::find(&whole.metadata, "texts"), Some(&gguf::Value::Strings(vec!["a".into(), String::new()])));
    let data = (bytes.len() as u64).next_multiple_of(32);
    assert_eq!(whole.data_start, data);
    assert_eq!((whole.tensors[0].shape.clone(), whole.tensors[0].span.clone()), (vec![2, 32], data..data + 68));
    assert_eq!((whole.tensors[1].dtype.name, whole.tensors[1].span.clone()), ("F32", data + 96..data + 108));
    // What was read is written back as it was, but for the version.
    let entries: Vec<_> = whole
        .tensors
        .iter()
        .map(|t| gguf::writer::Entry { name: t.name.clone(), shape: t.shape.clone(), dtype: t.dtype })
        .collect();
    let layout = gguf::writer::layout(&whole.metadata, &entries).unwrap();
    assert_eq!(layout.head[..bytes.len()], bytes);
    assert_eq!(layout.offsets, [data, data + 96]);
    assert_eq!(layout.size, data + 128);
    let old = [&start(2, 2, 17)[..], &bytes[24..]].concat();
    assert_eq!(read(GGUF, &old, None, 5).unwrap(), whole, "version 2 is the same");
}

#[test]
fn every_fault_of_a_gguf_header() {
    let _turn = alone();
    use ErrorKind::{BadHeader, Truncated, Unsupported};
    let with_key = |key: Vec<u8>| [start(3, 0, 1), key].concat();
    let with_tensor = |tensor: Vec<u8>| [start(3, 1, 0), tensor].concat();
    let two = |second: Vec<u8>| [start(3, 2, 0), tensor("a", &[8], 0, 0), second].concat();
    let huge = u64::MAX.to_le_bytes();
    let cases: &[(&str, Vec<u8>, ErrorKind, &str)] = &[
        ("nothing", vec![], Truncated, "within its header"),
        ("other magic", b"GGML\x03\0\0\0".to_vec(), BadHeader, "GGUF"),
        ("HTML", b"<!DOCTYPE html>".to_vec(), BadHeader, "GGUF"),
        ("version 1", start(1, 0, 0), Unsupported, "version 1"),
        ("version 9", start(9, 0, 0), Unsupported, "version 9"),
        ("big-endian", start(3u32.swap_bytes(), 0, 0), Unsupported, "big-endian"),
        ("too many tensors", start(3, u64::MAX, 0), BadHeader, "65536"),
        ("too many keys", start(3, 0, 1 << 40), BadHeader, "65536"),
        ("gigantic key", with_key(huge.to_vec()), BadHeader, "65535"),
        ("key is not UTF-8", with_key([text(b"\xff\xfe"), vec![0; 5]].concat()), BadHeader, "UTF-8"),
        ("key twice", [start(3, 0, 2), key("k", 0, &[1]), key("k", 0, &[1])].concat(), BadHeader, "twice"),
        ("unknown value type", with_key(key("k", 99, &[])), BadHeader, "99"),
        ("gigantic text", with_key(key("k", 8, &huge)), BadHeader, "16777216"),
        ("text is not UTF-8", with_key(key("k", 8, &text(b"\xc3("))), BadHeader, "UTF-8"),
        ("gigantic array", with_key(key("k", 9, &array(8, u64::MAX, &[]))), BadHeader, "8388608"),
        ("gigantic odd array", with_key(key("k", 9, &array(0, 1 << 21, &[]))), BadHeader, "1048576"),
        ("array of arrays", with_key(key("k", 9, &array(9, 1, &array(0, 0, &[])))), Unsupported, "arrays"),
        ("array of unknown", with_key(key("k", 9, &array(77, 1, &[0]))), BadHeader, "77"),
        ("bad alignment", with_key(key("general.alignment", 4, &24u32.to_le_bytes())), BadHeader, "alignment"),
        ("alignment 0", with_key(key("general.alignment", 4, &0u32.to_le_bytes())), BadHeader, "alignment"),
        ("cut in a key", [start(3, 0, 1), vec![5, 0, 0]].concat(), Truncated, "within its header"),
        ("cut in a tensor", start(3, 1, 0), Truncated, "within its header"),
        ("gigantic name", with_tensor(huge.to_vec()), BadHeader, "65535"),
        ("no dimensions", with_tensor(tensor("t", &[], 0, 0)), BadHeader, "dimensions"),
        ("too many dimensions", with_tensor(tensor("t", &[1, 1, 1, 1, 1], 0, 0)), BadHeader, "dimensions"),
        ("an empty dimension", with_tensor(tensor("t", &[4, 0], 0, 0)), BadHeader, "no elements"),
        ("product overflows", with_tensor(tensor("t", &[1 << 40, 1 << 40], 0, 0)), BadHeader, "64 bits"),
        ("bytes overflow", with_tensor(tensor("t", &[1 << 63], 0, 0)), BadHeader, "63 bits"),
        ("unknown type", with_tensor(tensor("t", &[32], 4, 0)), BadHeader, "no tensor type"),
        ("rows and blocks", with_tensor(tensor("t", &[33], 8, 0)), BadHeader, "blocks of 32"),
        ("first offset", with_tensor(tensor("t", &[32], 0, 32)), BadHeader, "gap"),
        ("overlap", two(tensor("b", &[8], 0, 0)), BadHeader, "overlap"),
        ("gap", two(tensor("b", &[8], 0, 64)), BadHeader, "gap"),
        ("gigantic offset", two(tensor("b", &[8], 0, u64::MAX)), BadHeader, "gap"),
        ("two of a name", two(tensor("a", &[8], 0, 32)), BadHeader, "two tensors"),
    ];
    for (what, bytes, kind, word) in cases {
        let error = fault(GGUF, bytes, None);
        assert_eq!(error.kind, *kind, "{what}: {error}");
        assert!(error.message.contains(word), "{what}: {error}");
    }
    let bytes = small_gguf();
    let end = (bytes.len() as u64).next_multiple_of(32) + 108;
    assert!(read(GGUF, &bytes, Some(end), usize::MAX).is_ok());
    let error = fault(GGUF, &bytes, Some(end - 1));
    assert_eq!((error.kind, error.tensor.as_deref()), (Truncated, Some("n")));
    assert_eq!(fault(GGUF, &bytes[..100], Some(100)).kind, Truncated);
    let lying = with_key(key("k", 8, &(1u64 << 20).to_le_bytes()));
    assert_eq!(
        fault(GGUF, &lying, Some(lying.len() as u64)).kind,
        Truncated,
        "known to be missing before it is awaited"
    );
}

/// Cut, flipped, replaced and repeated bytes: a result or an error, and never many more bytes than the input has.
#[test]
fn random_damage_neither_panics_nor_allocates() {
    let _turn = alone();
    let gguf = small_gguf();
    let tensors = tensors_file(TWO, 28);
    let mut state = 7u64;
    let mut next = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let mut survivors = 0;
    for round in 0..60_000 {
        let (make, original): (Make, &[u8]) = if round % 2 == 0 { (GGUF, &gguf) } else { (SAFETENSORS, &tensors) };
        let mut bytes = original.to_vec();
        for _ in 0..1 + next(4) {
            let at = next(bytes.len());
            match next(5) {
                0 => bytes[at] ^= 1 << next(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'9'][next(7)],
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at, next(256) as u8),
                _ => {
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].fill([0, 0xff][next(2)]);
                }
            }
        }
        let size = (next(2) == 0).then_some(bytes.len() as u64);
        let step = 1 + next(64);
        let region = Region::new(ALLOCATOR);
        survivors += usize::from(read(make, &bytes, size, step).is_ok());
        let allocated = region.change().bytes_allocated;
        assert!(allocated <= 64 * bytes.len() + 8192, "{allocated} bytes for an input of {}", bytes.len());
    }
    assert!(survivors > 1000, "some damage does no harm: {survivors}");
}
