//! The bytes of a file: owned, or mapped into memory.

use std::fmt;
use std::ops::Deref;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
use crate::{CheckpointError, Result};

/// The bytes of a file. Clones share them.
#[derive(Clone)]
pub struct FileBytes(Inner);

#[derive(Clone)]
enum Inner {
    Owned(Arc<[u8]>),
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(Arc<memmap2::Mmap>),
}

impl FileBytes {
    /// Maps a file into memory: its pages are read when they are touched and belong to the system's cache.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the file cannot be opened or mapped.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn map(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(CheckpointError::io(path))?;
        // An empty file cannot be mapped on every system.
        if file.metadata().map_err(CheckpointError::io(path))?.len() == 0 {
            return Ok(Self::from(Vec::new()));
        }
        // SAFETY: the map is read only and lives as long as the bytes that are lent from it. A program that
        // shortens or rewrites the file meanwhile could break this; checkpoints are written once, and whoever
        // replaces one atomically leaves the mapped file as it was.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(CheckpointError::io(path))?;
        Ok(Self(Inner::Mapped(Arc::new(map))))
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Inner::Owned(bytes.into()))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Owned(bytes) => bytes,
            #[cfg(not(target_arch = "wasm32"))]
            Inner::Mapped(map) => map,
        }
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileBytes({} bytes)", self.len())
    }
}
