//! From token ids to text while they come: characters are never cut, stop strings are found across tokens.

use crate::error::Result;

/// Ids that decode to an incomplete character for longer than this are no character.
const LONGEST_CHARACTER: usize = 8;

/// Turns ids into text as they come. Decoding starts a little before the new ids: tokenizers that mark spaces at the
/// beginning of words (SentencePiece) drop the space of the first one, and that must be one whose text is out already.
pub struct Detokenizer<F> {
    decode: F,
    ids: Vec<u32>,
    /// Where decoding begins.
    prefix: usize,
    /// The text of ids before this one is out.
    read: usize,
}

impl<F: Fn(&[u32]) -> Result<String>> Detokenizer<F> {
    pub fn new(decode: F) -> Self {
        Self { decode, ids: Vec::new(), prefix: 0, read: 0 }
    }

    /// The whole characters that this id completes.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = (self.decode)(&self.ids[self.prefix..])?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && self.ids.len() - self.read < LONGEST_CHARACTER {
            return Ok(String::new());
        }
        self.take(text)
    }

    /// What is left, be it whole or not.
    pub fn flush(&mut self) -> Result<String> {
        if self.read == self.ids.len() {
            return Ok(String::new());
        }
        let text = (self.decode)(&self.ids[self.prefix..])?;
        self.take(text)
    }

    fn take(&mut self, text: String) -> Result<String> {
        let before = (self.decode)(&self.ids[self.prefix..self.read])?;
        let new = text.strip_prefix(before.as_str()).map_or_else(|| text.clone(), str::to_owned);
        // Special tokens have no text: one at the beginning of what is decoded would not keep the space after it.
        if !new.is_empty() {
            self.prefix = self.read;
        }
        self.read = self.ids.len();
        Ok(new)
    }
}

/// Finds stop strings in text that comes in pieces, and holds back what may be the beginning of one.
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Text that may be shown, and whether a stop string follows it.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        if let Some(first) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(first);
            return (std::mem::take(&mut self.held), true);
        }
        let ends: Vec<usize> = self.held.char_indices().map(|(at, _)| at).collect();
        let may_begin = |at: &&usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[**at..]));
        let keep = ends.iter().find(may_begin).copied().unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back and turned out to be no stop string.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids are bytes.
    fn bytes(ids: &[u32]) -> Result<String> {
        let bytes: Vec<u8> = ids.iter().map(|&id| id as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn characters_come_whole() {
        let text = "aé€👩‍👩‍👧 z";
        let mut stream = Detokenizer::new(bytes);
        let pieces: Vec<String> = text.bytes().map(|byte| stream.push(u32::from(byte)).unwrap()).collect();
        assert_eq!(pieces.concat() + &stream.flush().unwrap(), text);
        assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)));
        assert_eq!(pieces[..6], ["a", "", "é", "", "", "€"]);
    }

    #[test]
    fn broken_characters_come_at_last() {
        let mut stream = Detokenizer::new(bytes);
        assert_eq!(stream.push(0xe2).unwrap(), "");
        assert_eq!(stream.flush().unwrap(), "\u{fffd}");
        assert_eq!(stream.flush().unwrap(), "");
        let mut stream = Detokenizer::new(bytes);
        let text: String = (0..20).map(|_| stream.push(0x80).unwrap()).collect();
        assert!(text.contains('\u{fffd}'), "a stream of nonsense must not wait for ever");
    }

    #[test]
    fn stop_strings_across_pieces() {
        let stops = ["<|end|>".to_owned(), "\n\n".to_owned(), String::new()];
        let mut stream = StopStrings::new(&stops);
        assert_eq!(stream.push("One <|"), ("One ".to_owned(), false));
        assert_eq!(stream.push("en"), (String::new(), false));
        assert_eq!(stream.push("ough\n"), ("<|enough".to_owned(), false));
        assert_eq!(stream.push("\nmore"), (String::new(), true));
        assert_eq!(stream.flush(), "");
        let mut stream = StopStrings::new(&stops);
        assert_eq!(stream.push("€\n"), ("€".to_owned(), false));
        assert_eq!(stream.flush(), "\n");
        assert_eq!(StopStrings::new(&[]).push("all"), ("all".to_owned(), false));
    }
}
