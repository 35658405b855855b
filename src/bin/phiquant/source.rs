//! Checkpoints on the disk.

use phiquant::checkpoint::{Builder, Checkpoint};
use phiquant::formats::Need;
use phiquant::{Error, ErrorKind, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The small files that a checkpoint may have.
const TEXTS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
];
const BLOBS: &[&str] = &["tokenizer.model"];
/// Larger ones are not what their name says.
const LARGEST_TEXT: u64 = 256 << 20;
const PIECE: u64 = 1 << 16;

/// A checkpoint and the folder of its weight files.
pub struct Source {
    pub checkpoint: Checkpoint,
    folder: PathBuf,
}

impl Source {
    /// Opens a folder, a .gguf file, or a .safetensors file with its folder's config.json; reads headers only.
    pub fn open(path: &Path) -> Result<Self> {
        let here = path.canonicalize().map_err(|error| io(&error, path))?;
        let mut builder = Builder::default();
        builder.set_name(&here.to_string_lossy());
        let is_folder = here.is_dir();
        let folder = if is_folder { here.clone() } else { here.parent().unwrap_or(&here).to_owned() };
        let alone = file_name(&here).filter(|_| !is_folder);
        match &alone {
            Some(name) if name.ends_with(".gguf") => builder.add_name(name),
            Some(name) if !name.ends_with(".safetensors") && !name.ends_with(".bin") => {
                let what = "this is neither a folder nor a .gguf, .safetensors or .bin file";
                return Err(Error::new(ErrorKind::BadOption, what).in_file(path.to_string_lossy()));
            }
            _ => add_folder(&mut builder, &folder)?,
        }
        for name in builder.weight_files()? {
            read_header(&mut builder, &folder, &name)?;
        }
        Ok(Self { checkpoint: builder.finish()?, folder })
    }

    pub fn path(&self, file: usize) -> PathBuf {
        self.folder.join(&self.checkpoint.files[file])
    }

    /// A reader of its own, for a thread of its own.
    pub fn reader(&self) -> Reader<'_> {
        Reader { source: self, files: (0..self.checkpoint.files.len()).map(|_| None).collect() }
    }
}

/// Reads spans of the weight files; opens a file when it is first read.
pub struct Reader<'a> {
    source: &'a Source,
    files: Vec<Option<File>>,
}

impl Reader<'_> {
    /// Fills `bytes` with those of the span, which is as long.
    pub fn read(&mut self, file: usize, span: Range<u64>, bytes: &mut [u8]) -> Result<()> {
        let name = &self.source.checkpoint.files[file];
        let path = self.source.path(file);
        if self.files[file].is_none() {
            self.files[file] = Some(File::open(&path).map_err(|error| io(&error, &path))?);
        }
        let Some(open) = &mut self.files[file] else { unreachable!("opened above") };
        let result = open.seek(SeekFrom::Start(span.start)).and_then(|_| open.read_exact(bytes));
        result.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::new(ErrorKind::Truncated, "the file ends before what its header promises").in_file(name.clone())
            }
            _ => io(&error, &path),
        })
    }
}

fn add_folder(builder: &mut Builder, folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|error| io(&error, folder))? {
        let path = entry.map_err(|error| io(&error, folder))?.path();
        let Some(name) = file_name(&path) else { continue };
        builder.add_name(&name);
        let is_text = TEXTS.contains(&name.as_str());
        if !is_text && !BLOBS.contains(&name.as_str()) {
            continue;
        }
        let size = std::fs::metadata(&path).map_err(|error| io(&error, &path))?.len();
        if size > LARGEST_TEXT {
            let what = format!("{size} bytes are too many for this file");
            return Err(Error::new(ErrorKind::BadConfig, what).in_file(name));
        }
        let bytes = std::fs::read(&path).map_err(|error| io(&error, &path))?;
        if is_text {
            let Ok(text) = String::from_utf8(bytes) else {
                return Err(Error::new(ErrorKind::BadConfig, "this is no UTF-8 text").in_file(name));
            };
            builder.add_text(&name, text)?;
        } else {
            builder.add_blob(&name, bytes)?;
        }
    }
    Ok(())
}

fn read_header(builder: &mut Builder, folder: &Path, name: &str) -> Result<()> {
    let path = folder.join(name);
    let mut file = File::open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::MissingFile, "the checkpoint needs this weight file").in_file(name)
        }
        _ => io(&error, &path),
    })?;
    let size = file.metadata().map_err(|error| io(&error, &path))?.len();
    let (mut need, mut bytes) = (Need::More(1), Vec::new());
    while need != Need::Nothing {
        if let Need::At(place) = need {
            file.seek(SeekFrom::Start(place)).map_err(|error| io(&error, &path))?;
        }
        bytes.clear();
        file.by_ref().take(PIECE).read_to_end(&mut bytes).map_err(|error| io(&error, &path))?;
        if bytes.is_empty() {
            break; // finish() says what is missing
        }
        need = builder.push_header(name, Some(size), &bytes)?;
    }
    Ok(())
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// What the operating system said, and of which file.
pub fn io(error: &std::io::Error, path: &Path) -> Error {
    let kind = if error.kind() == std::io::ErrorKind::NotFound { ErrorKind::MissingFile } else { ErrorKind::Io };
    Error::new(kind, error.to_string()).in_file(path.to_string_lossy())
}
