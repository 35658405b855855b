//! Damaged checkpoints, whole way: whatever a file says, opening it and planning a conversion gives a result or an error.

use phiquant::checkpoint::Builder;
use phiquant::formats::Need;
use phiquant::pipeline::{Options, plan};
use std::path::Path;

/// The fixtures' files that are read whole, and the head of a GGUF made from them.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    /// A few changes: flipped bits, other digits and signs, swallowed and doubled stretches, a cut.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = b"0919-.\"[]{}:,nte \0\xff"[self.below(19)],
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => bytes[at..end].fill([0, 0xff, b'9'][self.below(3)]),
                _ => bytes.truncate(bytes.len() - self.below(20).min(bytes.len())),
            }
        }
    }
}

fn open_and_plan(files: &[(String, Vec<u8>)]) -> phiquant::Result<()> {
    let mut builder = Builder::default();
    for (name, bytes) in files {
        match name.rsplit('.').next() {
            Some("json" | "jinja") => builder.add_text(name, String::from_utf8_lossy(bytes).into_owned())?,
            Some("model") => builder.add_blob(name, bytes.clone())?,
            _ => builder.add_name(name),
        }
    }
    for wanted in builder.weight_files()? {
        if let Some((_, bytes)) = files.iter().find(|(name, _)| *name == wanted) {
            for piece in bytes.chunks(4096) {
                if builder.push_header(&wanted, None, piece)? == Need::Nothing {
                    break;
                }
            }
        }
    }
    let checkpoint = builder.finish()?;
    for scheme in ["F16", "Q4_0"] {
        plan(&checkpoint, &Options { format: "gguf".into(), scheme: scheme.into(), ..Options::default() })?;
    }
    Ok(())
}

#[test]
fn a_damaged_file_of_a_checkpoint_is_an_error_or_does_no_harm() {
    let mut random = Random(3);
    for name in ["tiny-phi3-spm", "Phi-4-mini-tiny"] {
        let mut files = files(name);
        files.retain(|(name, _)| !name.ends_with(".head") && name != "expected.json");
        open_and_plan(&files).unwrap();
        let (mut fine, mut faulty) = (0, 0);
        for _ in 0..1500 {
            let mut damaged = files.clone();
            let which = random.below(damaged.len());
            random.damage(&mut damaged[which].1);
            match open_and_plan(&damaged) {
                Ok(()) => fine += 1,
                Err(error) => {
                    assert_ne!(error.kind, phiquant::ErrorKind::Internal, "{error}");
                    faulty += 1;
                }
            }
        }
        assert!(fine > 50 && faulty > 300, "{fine} fine, {faulty} faulty");
    }
}

#[test]
fn a_damaged_gguf_is_an_error_or_does_no_harm() {
    let mut random = Random(5);
    for name in ["tiny-phi3-spm", "Phi-4-mini-tiny", "phi4"] {
        let head = files(name).into_iter().find(|(name, _)| name == "F16.head").unwrap().1;
        open_and_plan(&[("a.gguf".into(), head.clone())]).unwrap();
        let (mut fine, mut faulty) = (0, 0);
        for _ in 0..1500 {
            let mut damaged = head.clone();
            // Most of the file is vocabulary: the keys before it deserve more.
            let mut front = damaged.drain(..[900, head.len()][random.below(2)]).collect();
            random.damage(&mut front);
            front.extend(damaged);
            match open_and_plan(&[("a.gguf".into(), front)]) {
                Ok(()) => fine += 1,
                Err(error) => {
                    assert_ne!(error.kind, phiquant::ErrorKind::Internal, "{error}");
                    faulty += 1;
                }
            }
        }
        assert!(fine > 50 && faulty > 300, "{fine} fine, {faulty} faulty");
    }
}
