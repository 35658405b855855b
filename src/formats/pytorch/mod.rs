//! `pytorch_model.bin`: a zip archive of `torch.save`, with a pickle that says which tensor lies where. The pickle is read by a
//! small interpreter that knows a handful of names and calls nothing ([`pickle`]).
//!
//! What a zip holds stands at its end, so the reader asks for pieces from there ([`Need::At`]) and must know the file's length.

mod pickle;
mod zip;

use crate::bail;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::{Header, HeaderReader, Need};
use std::ops::Range;
use zip::Archive;

/// Bytes of the pickle: names and shapes.
const MAX_PICKLE: u64 = 1 << 26;

/// Which piece is being read.
enum State {
    Start,
    End(zip::EndReader),
    Directory { records: u64 },
    Pickle(Archive),
    Done(Header),
}

/// Reads what a `pytorch_model.bin` holds, pushed in pieces of any size from the places it asks for.
pub struct Reader {
    size: Option<u64>,
    state: State,
    /// Where `buffer` begins in the file, and how much of it is wanted.
    wanted: Range<u64>,
    buffer: Vec<u8>,
}

impl Reader {
    /// `size`: the file's length; without it nothing can be read.
    pub fn new(size: Option<u64>) -> Self {
        Self { size, state: State::Start, wanted: 0..4, buffer: Vec::new() }
    }

    /// The piece is whole: what next?
    fn step(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        let start = self.wanted.start;
        let Some(size) = self.size else {
            bail!(
                Unsupported,
                "the server does not say how long this file is, and a zip archive is read from its end: download it and open it from the disk"
            );
        };
        self.state = match std::mem::replace(&mut self.state, State::Start) {
            State::Start => {
                signature(&bytes)?;
                let end = zip::EndReader::new(size)?;
                self.wanted = end.span();
                State::End(end)
            }
            State::End(end) => {
                let directory = end.read(start, &bytes)?;
                self.wanted = directory.span;
                State::Directory { records: directory.records }
            }
            State::Directory { records } => {
                let archive = Archive::read(&bytes, records, start)?;
                let pickle = archive.pickle()?;
                if pickle.end - pickle.start > MAX_PICKLE {
                    bail!(BadHeader, "the pickle has {} bytes; {MAX_PICKLE} are the most", pickle.end - pickle.start);
                }
                self.wanted = pickle;
                State::Pickle(archive)
            }
            State::Pickle(archive) => {
                let tensors = pickle::tensors(&bytes, |key| archive.storage(key))?;
                State::Done(Header { tensors, ..Header::default() })
            }
            done @ State::Done(_) => done,
        };
        Ok(())
    }
}

/// The file's first bytes say what it is.
fn signature(bytes: &[u8]) -> Result<()> {
    match bytes {
        b"PK\x03\x04" => Ok(()),
        [0x80, ..] => bail!(
            Unsupported,
            "torch saved this file before version 1.6, as one pickle: load and save it again with a newer torch, or convert it to safetensors"
        ),
        _ => bail!(
            BadHeader,
            "this is no file of torch.save: it does not begin as a zip archive (older ones are tar archives, which are not read)"
        ),
    }
}

impl HeaderReader for Reader {
    fn push(&mut self, bytes: &[u8]) -> Result<Need> {
        if matches!(self.state, State::Done(_)) {
            return Ok(Need::Nothing);
        }
        let missing = (self.wanted.end - self.wanted.start) as usize - self.buffer.len();
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        if bytes.len() < missing {
            return Ok(Need::More((missing - bytes.len()) as u64));
        }
        self.step()?;
        match self.state {
            State::Done(_) => Ok(Need::Nothing),
            _ => Ok(Need::At(self.wanted.start)),
        }
    }

    fn finish(self: Box<Self>) -> Result<Header> {
        match self.state {
            State::Done(header) => Ok(header),
            _ => Err(Error::new(ErrorKind::Truncated, "the file ends within what says which tensors it holds")),
        }
    }
}
