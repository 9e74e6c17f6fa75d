//! Token ids to text as they come, in whole characters only.
//!
//! A token may hold part of a UTF-8 character, and some decoders treat the first token of a text
//! differently (SentencePiece drops its leading space). So a window of ids is decoded twice, without
//! and with the ids that are not out yet, and the difference is the new text.

use super::{Tokenizer, TokenizerError};

/// Decodes ids one by one; made by [`Tokenizer::text_stream`].
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    /// Ids of the window: those of the last text that went out, then those that are held back.
    ids: Vec<u32>,
    /// How many of `ids` are out.
    out: usize,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            skip_special_tokens,
            ids: Vec::new(),
            out: 0,
        }
    }

    /// Takes the next id; gives the text that is complete with it: empty while a character is unfinished.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let (before, text) = self.decode_window()?;
        // The decoder writes U+FFFD for bytes that are no whole character (yet).
        if text.len() <= before.len() || text.ends_with('\u{FFFD}') {
            return Ok(String::new());
        }
        self.ids.drain(..self.out);
        self.out = self.ids.len();
        Ok(new_part(&before, &text))
    }

    /// The text still held back, U+FFFD in place of an unfinished character. The stream starts anew.
    pub fn finish(&mut self) -> Result<String, TokenizerError> {
        let (before, text) = self.decode_window()?;
        self.ids.clear();
        self.out = 0;
        Ok(new_part(&before, &text))
    }

    fn decode_window(&self) -> Result<(String, String), TokenizerError> {
        let decode = |ids: &[u32]| self.tokenizer.decode(ids, self.skip_special_tokens);
        Ok((decode(&self.ids[..self.out])?, decode(&self.ids)?))
    }
}

/// `text` without `before` at its start.
fn new_part(before: &str, text: &str) -> String {
    match text.strip_prefix(before) {
        Some(new) => new.to_owned(),
        // A decoder that rewrote text that is out already: only what comes after it can be given.
        None => text.chars().skip(before.chars().count()).collect(),
    }
}
