//! tokenizer.model: the few fields of SentencePiece's `ModelProto` (sentencepiece_model.proto) that GGUF wants.
//!
//! ```text
//! ModelProto    1: repeated SentencePiece pieces
//! SentencePiece 1: string piece · 2: float score · 3: enum type (NORMAL where absent)
//! ```

use crate::bail;
use crate::error::Result;

pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    /// SentencePiece's own numbers, which GGUF took over: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub kind: i32,
}

/// Every piece, in the order of ids.
pub(super) fn pieces(bytes: &[u8]) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next()? {
        if let (1, Field::Bytes(bytes)) = (number, value) {
            pieces.push(piece(bytes)?);
        }
    }
    if pieces.is_empty() {
        bail!(BadConfig, "this is no SentencePiece model: it has no pieces");
    }
    Ok(pieces)
}

fn piece(bytes: &[u8]) -> Result<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field {
            (1, Field::Bytes(text)) => match std::str::from_utf8(text) {
                Ok(text) => piece.text = text.to_owned(),
                Err(_) => bail!(BadConfig, "a piece of the SentencePiece model is not UTF-8"),
            },
            (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Varint(kind)) => piece.kind = i32::try_from(kind).unwrap_or(0),
            _ => {}
        }
    }
    Ok(piece)
}

enum Field<'a> {
    Varint(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message, one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.bytes(8)?;
                Field::Other
            }
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.bytes(length)?)
            }
            5 => {
                let bytes = self.bytes(4)?;
                Field::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            _ => bail!(BadConfig, "this is no SentencePiece model: its fields cannot be read"),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let Some((bytes, rest)) = split else {
            bail!(BadConfig, "the SentencePiece model ends in the middle of a field");
        };
        self.0 = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!(BadConfig, "this is no SentencePiece model: a number has more than 64 bits")
    }
}
