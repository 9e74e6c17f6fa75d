//! Where a data set's bytes are: a file that stays on disk, or memory (a browser has no files).

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::{Arc, Mutex, PoisonError},
};

use crc::{CRC_32_ISO_HDLC, Crc, Digest};

/// zip's and PNG's CRC-32.
static CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Bytes that can be read from any place.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// An open file; records are read one at a time.
    File(Arc<Mutex<File>>),
    /// All of it.
    Memory(Arc<[u8]>),
}

impl Source {
    /// `length` bytes from `offset` on. A file that has become shorter is an error.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))?;
                let mut bytes = vec![0; length];
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            Self::Memory(bytes) => {
                let range = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..)?.get(..length));
                range
                    .map(<[u8]>::to_vec)
                    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    /// Reads from the start. Reading records meanwhile would move a file's cursor, so this is for indexing.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(file))
            }
            Self::Memory(bytes) => Ok(Box::new(&bytes[..])),
        }
    }
}

/// Sums up what is read through it.
pub(super) struct Checksummed<R> {
    reader: R,
    digest: Digest<'static, u32>,
}

impl<R: Read> Checksummed<R> {
    pub(super) fn new(reader: R) -> Self {
        let digest = CRC32.digest();
        Self { reader, digest }
    }

    /// The CRC-32 of all that was read.
    pub(super) fn finish(self) -> u32 {
        self.digest.finalize()
    }
}

impl<R: Read> Read for Checksummed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}
