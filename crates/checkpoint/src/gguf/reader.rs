//! Reading numbers and texts one after the other, never past the file's end.

use crate::{CheckpointError, Result};

/// A place in a file's bytes.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// The next `len` bytes; `what` they are goes into the error.
    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(self.error(
                format!("{len} bytes of {what}"),
                format!("{} bytes to the file's end", rest.len()),
            )),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A text: its length in 8 bytes, then UTF-8.
    pub(super) fn text(&mut self, what: &str) -> Result<&'a str> {
        let len = self.u64(what)?;
        let start = self.at;
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let place = format!("byte {}", start + error.valid_up_to());
            CheckpointError::malformed(self.file, place, format!("UTF-8 in {what}"), "another encoding")
        })
    }

    /// An error at this place.
    pub(super) fn error(&self, expected: impl Into<String>, found: impl Into<String>) -> CheckpointError {
        CheckpointError::malformed(self.file, format!("byte {}", self.at), expected, found)
    }
}
