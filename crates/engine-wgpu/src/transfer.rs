//! Bytes without a kernel: from the host, from tensor to tensor, zeros. None of it is bound, so no binding limit holds.

use std::ops::Range;

use anylora_engine::{Error, Result, Tensor};

use crate::{Storage, Wgpu};

impl Wgpu {
    /// Uploads whole 4-byte words, and the bytes after the last one padded with zeros.
    pub(crate) fn write_bytes(&self, storage: &Storage, offset: u64, bytes: &[u8]) -> Result<()> {
        self.check()?;
        whole_words("upload", storage, offset, bytes.len() as u64)?;
        let (words, rest) = bytes.split_at(bytes.len() / 4 * 4);
        let mut recorder = self.recorder();
        recorder.write(&self.0, &storage.buffer, offset, words);
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            recorder.write(&self.0, &storage.buffer, offset + words.len() as u64, &word);
        }
        drop(recorder);
        self.check()
    }

    /// Copies one tensor's bytes into another of the same size, in other memory.
    pub(crate) fn copy_bytes(&self, from: &Tensor<Self>, to: &Tensor<Self>) -> Result<()> {
        self.check()?;
        let size = from.size_bytes() as u64;
        let (source, target) = (&from.storage().buffer, &to.storage().buffer);
        if to.size_bytes() as u64 != size || source == target || !from.offset_bytes().is_multiple_of(4) {
            return Err(Error::Argument {
                op: "copy",
                what: format!("{from:?} can't be copied into {to:?}"),
            });
        }
        let words = whole_words("copy", to.storage(), to.offset_bytes(), size)?;
        self.recorder()
            .copy(&self.0, source, from.offset_bytes(), target, words);
        self.check()
    }

    /// Makes all bytes of a tensor 0.
    pub(crate) fn clear_bytes(&self, tensor: &Tensor<Self>) -> Result<()> {
        self.check()?;
        let storage = tensor.storage();
        let words = whole_words("fill", storage, tensor.offset_bytes(), tensor.size_bytes() as u64)?;
        self.recorder().clear(&self.0, &storage.buffer, words);
        self.check()
    }
}

/// The 4-byte words, which commands take, that hold these bytes of an allocation. A part of a word may only be
/// written where nothing follows it.
fn whole_words(op: &'static str, storage: &Storage, offset: u64, size: u64) -> Result<Range<u64>> {
    let end = offset + size;
    if end > storage.used {
        return Err(Error::Argument {
            op,
            what: format!("{offset}..{end} is outside the allocation"),
        });
    }
    if !offset.is_multiple_of(4) || !(end.is_multiple_of(4) || end == storage.used) {
        let what = format!("a view of bytes {offset}..{end} starts or ends inside a 4-byte word");
        return Err(Error::Argument { op, what });
    }
    Ok(offset..end.next_multiple_of(4))
}
