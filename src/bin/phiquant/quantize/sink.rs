//! Output files: written under a temporary name, renamed when they are whole, removed when they are not.

use crate::source::{Source, io};
use phiquant::pipeline::Plan;
use phiquant::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub struct Sink {
    files: Vec<Place>,
    finished: bool,
}

struct Place {
    name: String,
    path: PathBuf,
    partial: PathBuf,
    bytes: u64,
}

/// A finished file.
pub struct Made {
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
    pub sha256: Option<String>,
}

impl Sink {
    /// Makes every file at its full length, so that a full disk is told before the work. `output` is the file's name, or
    /// a folder.
    pub fn create(plan: &Plan, output: &Path, source: &Source) -> Result<Self> {
        let is_folder = output.is_dir() || plan.files.len() > 1 || output.to_string_lossy().ends_with(['/', '\\']);
        let mut sink = Self { files: Vec::new(), finished: false };
        if is_folder {
            std::fs::create_dir_all(output).map_err(|error| io(&error, output))?;
        }
        for file in &plan.files {
            let path = if is_folder { output.join(&file.name) } else { output.to_owned() };
            let same = |index| {
                path.canonicalize().is_ok_and(|path| source.path(index).canonicalize().is_ok_and(|it| it == path))
            };
            if (0..source.checkpoint.files.len()).any(same) {
                let what = "the output would replace the checkpoint's own weights; choose another name";
                return Err(Error::new(ErrorKind::BadOption, what).in_file(path.to_string_lossy()));
            }
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.partial", std::process::id()));
            let partial = path.with_file_name(name);
            let made = File::create_new(&partial).map_err(|error| io(&error, &partial))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sink.files.push(Place { name, path, partial: partial.clone(), bytes: file.bytes });
            made.set_len(file.bytes).map_err(|error| io(&error, &partial))?;
        }
        Ok(sink)
    }

    /// A writer of its own, for a thread of its own.
    pub fn writer(&self) -> Writer<'_> {
        Writer { sink: self, files: (0..self.files.len()).map(|_| None).collect() }
    }

    /// Gives the files their names.
    pub fn finish(mut self, sha256: bool) -> Result<Vec<Made>> {
        let mut made = Vec::new();
        for place in &self.files {
            let sha256 = if sha256 { Some(hash(&place.partial)?) } else { None };
            std::fs::rename(&place.partial, &place.path).map_err(|error| io(&error, &place.path))?;
            made.push(Made { name: place.name.clone(), path: place.path.clone(), bytes: place.bytes, sha256 });
        }
        self.finished = true;
        Ok(made)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.finished {
            for place in &self.files {
                let _ = std::fs::remove_file(&place.partial);
            }
        }
    }
}

pub struct Writer<'a> {
    sink: &'a Sink,
    files: Vec<Option<File>>,
}

impl Writer<'_> {
    pub fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let path = &self.sink.files[file].partial;
        let fault = |error: std::io::Error| io(&error, path);
        if self.files[file].is_none() {
            self.files[file] = Some(File::options().write(true).open(path).map_err(fault)?);
        }
        let Some(open) = &mut self.files[file] else { unreachable!("opened above") };
        open.seek(SeekFrom::Start(offset)).and_then(|_| open.write_all(bytes)).map_err(fault)
    }
}

fn hash(path: &Path) -> Result<String> {
    let fault = |error: std::io::Error| io(&error, path);
    let mut file = File::open(path).map_err(fault)?;
    let mut sum = Sha256::new();
    let mut bytes = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut bytes).map_err(fault)?;
        if length == 0 {
            return Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        sum.update(&bytes[..length]);
    }
}
