//! A file that arrives in pieces: its tensors' bytes go on as they come, none is kept.

use super::header::{Header, header_length, too_short};
use super::{Dtype, Entry};
use crate::{CheckpointError, Result, TensorFormat};

/// Headers of shards are far smaller; a header is the one thing that is held in memory as a whole.
const MAX_STREAMED_HEADER: u64 = 8 << 20;

/// Reads a safetensors file of a known length from pieces of any size, in order.
///
/// ```
/// # fn main() -> anylora_checkpoint::Result<()> {
/// use anylora_checkpoint::{CheckpointError, ShardReader};
///
/// let json = br#"{"w":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}}"#;
/// let mut file = (json.len() as u64).to_le_bytes().to_vec();
/// file.extend(json);
/// file.extend([1, 2, 3, 4, 5, 6]);
///
/// let mut reader = ShardReader::new("model.safetensors", file.len());
/// let mut bytes = Vec::new();
/// for piece in file.chunks(5) {
///     reader.push(piece, |piece| {
///         assert_eq!((piece.name, piece.offset), ("w", bytes.len()));
///         bytes.extend_from_slice(piece.bytes);
///         Ok::<_, CheckpointError>(())
///     })?;
/// }
/// reader.finish()?;
/// assert_eq!(bytes, [1, 2, 3, 4, 5, 6]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ShardReader {
    file: String,
    len: usize,
    /// Bytes taken so far.
    at: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The length and the JSON as far as they are there.
    Header(Vec<u8>),
    /// In the order of their bytes; how many are done.
    Tensors(Vec<(String, Entry)>, usize),
}

/// The next bytes of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct TensorPiece<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Its element type's name, `F16`.
    pub dtype: &'static str,
    /// How weights of that type are stored.
    pub format: TensorFormat,
    /// Its shape, row-major.
    pub shape: &'a [usize],
    /// All its bytes.
    pub len: usize,
    /// Where these bytes begin in the tensor. A tensor's pieces come in order, and an empty tensor's only one is empty.
    pub offset: usize,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl TensorPiece<'_> {
    /// Whether the tensor ends with this piece.
    pub const fn is_last(&self) -> bool {
        self.offset + self.bytes.len() == self.len
    }
}

impl ShardReader {
    /// A reader at the start of a file of `len` bytes; `file` names it in messages.
    pub fn new(file: &str, len: usize) -> Self {
        Self {
            file: file.into(),
            len,
            at: 0,
            state: State::Header(Vec::new()),
        }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Takes the next bytes of the file and gives those of tensors to `sink`.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every bad tensor of the header, or where there are more bytes than the
    /// file has; those of `sink`.
    pub fn push<E: From<CheckpointError>>(
        &mut self,
        piece: &[u8],
        mut sink: impl FnMut(TensorPiece<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if piece.len() > self.len - self.at {
            let found = format!("at least {} bytes", self.at + piece.len());
            let expected = format!("{} bytes", self.len);
            return Err(CheckpointError::malformed(&self.file, "length", expected, found).into());
        }
        let mut rest = piece;
        if let State::Header(_) = self.state {
            rest = self.header(rest)?;
        }
        if let State::Tensors(tensors, done) = &mut self.state {
            while let Some((name, Entry { dtype, shape, range })) = tensors.get(*done) {
                let offset = self.at - range.start;
                let (bytes, others) = rest.split_at(rest.len().min(range.end - self.at));
                if bytes.is_empty() && !range.is_empty() {
                    break;
                }
                let Dtype { name: dtype_name, .. } = *dtype;
                sink(TensorPiece {
                    name,
                    dtype: dtype_name,
                    format: dtype.format(),
                    shape,
                    len: range.len(),
                    offset,
                    bytes,
                })?;
                self.at += bytes.len();
                rest = others;
                if self.at == range.end {
                    *done += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes what belongs to the header; returns the rest of the piece.
    fn header<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8]> {
        let State::Header(held) = &mut self.state else {
            return Ok(piece);
        };
        let mut rest = piece;
        let mut take = |held: &mut Vec<u8>, until: usize| {
            let (bytes, others) = rest.split_at(rest.len().min(until.saturating_sub(held.len())));
            held.extend_from_slice(bytes);
            self.at += bytes.len();
            rest = others;
        };
        take(held, 8);
        let Some(length) = held.first_chunk::<8>() else {
            return Ok(rest);
        };
        let limit = MAX_STREAMED_HEADER.min(self.len.saturating_sub(8) as u64);
        let end = 8 + header_length(&self.file, *length, limit, self.len)?;
        take(held, end);
        if held.len() == end {
            let header = Header::from_json(&self.file, &held[8..], self.len)?;
            let mut tensors: Vec<_> = header.tensors.into_iter().collect();
            tensors.sort_by_key(|(_, entry)| (entry.range.start, entry.range.end));
            self.state = State::Tensors(tensors, 0);
        }
        Ok(rest)
    }

    /// Checks that the file came whole.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] where bytes are missing.
    pub fn finish(self) -> Result<()> {
        if self.len < 8 {
            return Err(too_short(&self.file, self.len));
        }
        if self.at == self.len {
            return Ok(());
        }
        let (expected, found) = (format!("{} bytes", self.len), format!("{} bytes", self.at));
        Err(CheckpointError::malformed(&self.file, "length", expected, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: &[u8]) -> Vec<u8> {
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), data].concat()
    }

    type Seen = Vec<(String, usize, Vec<u8>)>;

    fn read(bytes: &[u8], len: usize, size: usize) -> Result<Seen> {
        let mut reader = ShardReader::new("x.safetensors", len);
        let mut seen: Seen = Vec::new();
        for piece in bytes.chunks(size) {
            reader.push(piece, |piece| {
                match seen.last_mut().filter(|(name, ..)| name == piece.name) {
                    Some((_, len, bytes)) => {
                        assert_eq!((piece.offset, piece.len), (bytes.len(), *len));
                        bytes.extend_from_slice(piece.bytes);
                    }
                    None => seen.push((piece.name.into(), piece.len, piece.bytes.to_vec())),
                }
                Ok::<_, CheckpointError>(())
            })?;
        }
        reader.finish()?;
        Ok(seen)
    }

    #[test]
    fn pieces_of_every_size_give_the_same_tensors() {
        let json = r#"{"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},"e":{"dtype":"F32","shape":[0],"data_offsets":[7,7]},
            "a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]},"c":{"dtype":"F32","shape":[1],"data_offsets":[7,11]}}"#;
        let bytes = file(json, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let expected = [
            ("a", &[1, 2, 3, 4][..]),
            ("b", &[5, 6, 7]),
            ("e", &[]),
            ("c", &[8, 9, 10, 11]),
        ];
        for size in 1..=bytes.len() {
            let seen = read(&bytes, bytes.len(), size).unwrap();
            let seen: Vec<_> = seen
                .iter()
                .map(|(name, _, bytes)| (name.as_str(), &bytes[..]))
                .collect();
            assert_eq!(seen, expected, "pieces of {size}");
        }
    }

    #[test]
    fn hostile_files_are_errors() {
        let json = r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#;
        let whole = file(json, &[1, 2, 3]);
        let error = |bytes: &[u8], len: usize| read(bytes, len, 7).unwrap_err().to_string();
        assert!(error(&whole[..whole.len() - 1], whole.len()).contains("x.safetensors: length"));
        assert!(error(&whole, whole.len() - 1).contains("expected"), "too long");
        assert!(error(&[0; 4], 4).contains("8 bytes"));
        let absurd = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        assert!(error(&absurd, absurd.len()).contains("18446744073709551615"));
        let large = (MAX_STREAMED_HEADER + 1).to_le_bytes();
        assert!(error(&large, 1 << 30).contains("at most 8388608 bytes"));
        assert!(error(&file("{]", &[]), 10).contains("JSON"));
        let huge = r#"{"a":{"dtype":"F32","shape":[4294967295,4294967295],"data_offsets":[0,3]}}"#;
        let huge = file(huge, &[1, 2, 3]);
        assert!(error(&huge, huge.len()).contains("tensor `a`"));
    }
}
