//! `pytorch_model.bin` against what torch saved (tools/pytorch_fixtures.py), and files that are damaged or mean harm.

mod pipeline_common;

use phiquant::checkpoint::Builder;
use phiquant::formats::{Header, HeaderReader, Need, pytorch};
use phiquant::pipeline::plan;
use phiquant::{Error, ErrorKind};
use pipeline_common::{Files, carry_out, fixture, hex, options};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// Reads as the drivers do: pieces of `piece` bytes from where the reader asks.
fn read(bytes: &[u8], piece: usize) -> Result<Header, Error> {
    let mut reader = Box::new(pytorch::Reader::new(Some(bytes.len() as u64)));
    let mut at = 0;
    loop {
        let end = (at + piece).min(bytes.len());
        if at >= end {
            return reader.finish();
        }
        match reader.push(&bytes[at..end])? {
            Need::Nothing => return reader.finish(),
            Need::More(_) => at = end,
            Need::At(place) => at = place as usize,
        }
    }
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn shards_convert_to_what_safetensors_do() {
    let (checkpoint, sources) = fixture("tiny-phi3-spm");
    let mut builder = Builder::default();
    builder.set_name("tiny-phi3-spm");
    for (name, text) in &checkpoint.texts {
        builder.add_text(name, text.clone()).unwrap();
    }
    for (name, bytes) in &checkpoint.blobs {
        builder.add_blob(name, bytes.clone()).unwrap();
    }
    let index = "pytorch_model.bin.index.json";
    builder.add_text(index, String::from_utf8(file(index)).unwrap()).unwrap();
    let names = builder.weight_files().unwrap();
    assert_eq!(names.len(), 2);
    let files: Files = names.into_iter().map(|name| (name.clone(), file(&name))).collect();
    for (name, bytes) in &files {
        let mut at = 0;
        loop {
            match builder.push_header(name, Some(bytes.len() as u64), &bytes[at..(at + 777).min(bytes.len())]).unwrap()
            {
                Need::Nothing => break,
                Need::More(_) => at += 777,
                Need::At(place) => at = place as usize,
            }
        }
    }
    let again = builder.finish().unwrap();
    for scheme in ["F32", "BF16", "Q4_K_M"] {
        let (ours, _) = carry_out(&again, &files, &plan(&again, &options(scheme)).unwrap());
        let (theirs, _) = carry_out(&checkpoint, &sources, &plan(&checkpoint, &options(scheme)).unwrap());
        if scheme == "Q4_K_M" {
            assert_eq!(hex(&ours), hex(&theirs));
        }
        // Unquantized files keep the shards' order of tensors.
        assert_eq!(ours.len(), theirs.len());
    }
}

#[test]
fn tensors_are_found_where_torch_put_them() {
    let bytes = file("kinds.bin");
    let header = read(&bytes, 1 << 20).unwrap();
    for piece in [1, 63, 1000] {
        assert_eq!(read(&bytes, piece).unwrap(), header, "pieces of {piece}");
    }
    let get = |name: &str| header.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let data = |name: &str| &bytes[get(name).span.start as usize..get(name).span.end as usize];
    let names: Vec<_> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["weight", "bias", "parameter", "part", "same", "mask"]);
    assert_eq!((&get("weight").shape[..], get("weight").dtype.name), (&[2, 3][..], "F32"));
    assert_eq!((&get("parameter").shape[..], get("parameter").dtype.name), (&[2, 2][..], "F16"));
    assert_eq!(data("parameter"), [0x00, 0x3c].repeat(4));
    assert_eq!((get("mask").dtype.name, data("mask")), ("BOOL", &[1u8; 4][..]));
    // A part of a tensor shares its storage.
    assert_eq!(f32s(data("part")), f32s(data("same"))[6..18]);
    assert!(f32s(data("weight")).iter().all(|x| x.abs() <= 1.0 / 3f32.sqrt()));
}

#[test]
fn what_is_not_read_says_why() {
    for (name, kind, words) in [
        ("evil.bin", ErrorKind::UnsafePickle, "posix.system"),
        ("module.bin", ErrorKind::UnsafePickle, "torch.nn.modules"),
        ("turned.bin", ErrorKind::Unsupported, "contiguous"),
        ("nested.bin", ErrorKind::Unsupported, "state dict"),
        ("legacy.bin", ErrorKind::Unsupported, "before version 1.6"),
    ] {
        let error = read(&file(name), 4096).unwrap_err();
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert!(error.message.contains(words), "{name}: {error}");
    }
    let mut reader = pytorch::Reader::new(None);
    let error = reader.push(b"PK\x03\x04").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    let kind = |bytes: &[u8]| read(bytes, 4096).unwrap_err().kind;
    assert_eq!(kind(b"ustar, or anything else"), ErrorKind::BadHeader);
    assert_eq!(kind(b"PK\x03\x04"), ErrorKind::Truncated);
}

/// A pickle of one's own in torch's archive: the record is rewritten in place, and ends with zeros that nobody reads.
fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let mut bytes = file("turned.bin");
    let place = bytes.windows(2).position(|w| w == b"\x80\x02").unwrap();
    bytes[place..place + pickle.len()].copy_from_slice(pickle);
    bytes
}

#[test]
fn pickles_that_torch_does_not_write() {
    for (pickle, kind) in [
        // Names that run code, by every way of naming.
        (&b"\x80\x02cos\nsystem\n."[..], ErrorKind::UnsafePickle),
        (b"\x80\x02cbuiltins\neval\n.", ErrorKind::UnsafePickle),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", ErrorKind::UnsafePickle),
        (b"\x80\x02ios\nsystem\n.", ErrorKind::UnsafePickle),
        (b"\x80\x02]\x81.", ErrorKind::UnsafePickle),
        (b"\x80\x02\x82\x01.", ErrorKind::UnsafePickle),
        (b"\x80\x02)}b.", ErrorKind::UnsafePickle),
        (b"\x80\x02})R.", ErrorKind::UnsafePickle),
        // A machine without what it is asked for.
        (b"\x80\x02.", ErrorKind::BadHeader),
        (b"\x80\x02u.", ErrorKind::BadHeader),
        (b"\x80\x02h\x07.", ErrorKind::BadHeader),
        (b"\x80\x02N.", ErrorKind::BadHeader),
        (b"\x80\x02NQ.", ErrorKind::BadHeader),
        (b"\x80\x02}(Ku.", ErrorKind::BadHeader),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", ErrorKind::BadHeader),
        (b"\x80\x02X\xff\xff\xff\x7f.", ErrorKind::Truncated),
        (b"\x80\x02\x8a\xff.", ErrorKind::Truncated),
    ] {
        let error = read(&with_pickle(pickle), 4096).unwrap_err();
        assert_eq!(error.kind, kind, "{pickle:02x?}: {error}");
    }
}

/// Every beginning of a file, and every byte of it changed, is an error or a header, and nothing else; spans stay inside.
#[test]
fn damage_is_an_error_and_no_panic() {
    let good = file("kinds.bin");
    for end in 0..good.len() {
        assert!(read(&good[..end], 1 << 20).is_err(), "{end}");
    }
    let mut bytes = good.clone();
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            if let Ok(header) = read(&bytes, 1 << 20) {
                assert!(header.tensors.iter().all(|tensor| tensor.span.end <= good.len() as u64), "byte {at}");
            }
            bytes[at] = good[at];
        }
    }
}
