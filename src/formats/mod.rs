//! File formats. No I/O inside: a reader is pushed bytes and says how many it still wants; a writer gives bytes and offsets.

pub mod gguf;
pub mod imatrix;
pub mod pytorch;
pub mod safetensors;

use crate::error::Result;
use crate::tensor::TensorInfo;

/// What a header reader wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// At least this many bytes more.
    More(u64),
    /// The bytes from this place of the file on.
    At(u64),
    /// The header is complete.
    Nothing,
}

/// What a weight file's header says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// In file order.
    pub tensors: Vec<TensorInfo>,
    /// The file's own metadata: GGUF's keys and values, safetensors' `__metadata__`.
    pub metadata: gguf::Metadata,
    /// Where the tensors' bytes begin.
    pub data_start: u64,
}

/// Reads the header of a weight file, pushed in pieces of any size (one byte at a time gives the same answer).
pub trait HeaderReader {
    /// Takes the next bytes of the file: from its start, and after [`Need::At`] from there. Bytes past the header are ignored. After an error the reader is
    /// of no more use.
    fn push(&mut self, bytes: &[u8]) -> Result<Need>;

    /// The header, once `push` has said [`Need::Nothing`]; `Truncated` before that.
    fn finish(self: Box<Self>) -> Result<Header>;
}
