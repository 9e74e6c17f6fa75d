//! A pack's folder, written tensor by tensor.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::manifest::FILE;
use super::shards::{self, MAX, PackTensor};
use super::{PackManifest, PackPart, PackQuantization};
use crate::{CheckpointError, Result, write};

const INDEX: &str = "model.safetensors.index.json";

/// Writes a pack, which appears under its name when it is finished; a pack that was there is replaced then. No more is
/// in memory than what [`PackWriter::write`] is handed.
#[derive(Debug)]
pub struct PackWriter {
    path: PathBuf,
    temporary: TempDir,
    /// Shards that are not started yet, last one first: file name and tensors.
    pending: Vec<(String, Vec<PackTensor>)>,
    current: Option<Shard>,
    shards: Vec<PackPart>,
    files: Vec<PackPart>,
}

/// A shard that is being written.
#[derive(Debug)]
struct Shard {
    name: String,
    out: BufWriter<File>,
    hash: Sha256,
    bytes: usize,
    /// Bytes that are still to come.
    missing: usize,
}

impl PackWriter {
    /// Starts a pack at `path`, where there must be nothing, an empty folder or a pack.
    ///
    /// # Errors
    /// [`CheckpointError::Io`], with `AlreadyExists` where `path` holds something else;
    /// [`CheckpointError::Unsupported`] with every tensor of which a row does not fit into a shard.
    pub fn create(path: &Path, tensors: Vec<PackTensor>) -> Result<Self> {
        Self::with_shards_of(path, tensors, MAX)
    }

    /// The same with shards of at most `max_bytes`, at most [`super::MAX_PART_BYTES`].
    ///
    /// # Errors
    /// As [`PackWriter::create`].
    pub fn with_shards_of(path: &Path, tensors: Vec<PackTensor>, max_bytes: usize) -> Result<Self> {
        if !is_free(path) {
            return Err(CheckpointError::io(path)(
                std::io::ErrorKind::AlreadyExists.into(),
            ));
        }
        let plan = shards::plan(tensors, max_bytes.min(MAX))?;
        let count = plan.len();
        let mut weight_map = Map::new();
        let mut pending = Vec::new();
        for (i, tensors) in plan.into_iter().enumerate() {
            let name = format!("model-{:05}-of-{count:05}.safetensors", i + 1);
            weight_map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
            pending.push((name, tensors));
        }
        let tensors = pending.iter().flat_map(|(_, tensors)| tensors);
        let total_size: usize = tensors.map(PackTensor::len).sum();
        pending.reverse();
        let mut writer = Self {
            path: path.into(),
            temporary: write::temporary_folder(path)?,
            pending,
            current: None,
            shards: Vec::new(),
            files: Vec::new(),
        };
        let index = json!({"metadata": {"total_size": total_size}, "weight_map": Value::Object(weight_map)});
        writer.add_file(INDEX, format!("{index:#}\n").as_bytes())?;
        writer.next_shard()?;
        Ok(writer)
    }

    /// Writes the next bytes of the tensors, which follow each other in their order, each little-endian and row-major;
    /// a call may end anywhere.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] for more bytes than the tensors have; [`CheckpointError::Io`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let Some(shard) = &mut self.current else {
                let file = self.path.display().to_string();
                let found = format!("{} more bytes", bytes.len());
                return Err(CheckpointError::malformed(
                    &file,
                    "tensors",
                    "no more bytes than they have",
                    found,
                ));
            };
            let (head, tail) = bytes.split_at(bytes.len().min(shard.missing));
            shard.write(head).map_err(CheckpointError::io(&self.path))?;
            shard.missing -= head.len();
            bytes = tail;
            if shard.missing == 0 {
                self.next_shard()?;
            }
        }
        Ok(())
    }

    /// Adds a file beside the weights, such as config.json.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        write::folder(self.temporary.path(), &[(name, bytes)])?;
        self.files.push(PackPart {
            path: name.into(),
            bytes: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
        });
        Ok(())
    }

    /// Writes the manifest, brings everything to the disk and gives the folder its name.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] where bytes of tensors are missing or the parts make no pack (no tokenizer.json,
    /// a file that is too large); [`CheckpointError::Io`].
    pub fn finish(mut self, name: &str, quantization: PackQuantization) -> Result<PackManifest> {
        if let Some(shard) = &self.current {
            let found = format!("{} bytes less", shard.missing);
            return Err(CheckpointError::malformed(
                &shard.name,
                "tensors",
                "all of their bytes",
                found,
            ));
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = PackManifest::new(name, quantization, self.files, self.shards)?;
        write::folder(self.temporary.path(), &[(FILE, manifest.to_json().as_bytes())])?;
        // A folder can't be renamed over another one: the old pack steps aside, and is whole until the new one is there.
        let old = match holds_pack(&self.path) {
            true => Some(write::temporary_folder(&self.path)?),
            false => None,
        };
        if let Some(old) = &old {
            std::fs::rename(&self.path, old.path().join("old")).map_err(CheckpointError::io(&self.path))?;
        }
        if let Err(error) = write::appear(self.temporary, &self.path) {
            if let Some(old) = &old {
                // Where this fails too, the old pack is lost with its temporary folder: a pack can be made again.
                let _ = std::fs::rename(old.path().join("old"), &self.path);
            }
            return Err(error);
        }
        Ok(manifest)
    }

    /// Ends the current shard and starts the next that has bytes.
    fn next_shard(&mut self) -> Result<()> {
        loop {
            if let Some(shard) = self.current.take() {
                let part = shard.finish().map_err(CheckpointError::io(&self.path))?;
                self.shards.push(part);
            }
            let Some((name, tensors)) = self.pending.pop() else {
                return Ok(());
            };
            let path = self.temporary.path().join(&name);
            let shard = Shard::create(&path, name, &tensors).map_err(CheckpointError::io(&path))?;
            let is_full = shard.missing == 0;
            self.current = Some(shard);
            if !is_full {
                return Ok(());
            }
        }
    }
}

impl Shard {
    fn create(path: &Path, name: String, tensors: &[PackTensor]) -> std::io::Result<Self> {
        let mut shard = Self {
            name,
            out: BufWriter::new(File::create(path)?),
            hash: Sha256::new(),
            bytes: 0,
            missing: tensors.iter().map(PackTensor::len).sum(),
        };
        shard.write(&shards::header(tensors))?;
        Ok(shard)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len();
        self.out.write_all(bytes)
    }

    fn finish(mut self) -> std::io::Result<PackPart> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(PackPart {
            path: self.name,
            bytes: self.bytes as u64,
            sha256: self.hash.finalize().into(),
        })
    }
}

/// Whether a pack may be written at `path`.
fn is_free(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none() || holds_pack(path),
        Err(_) => !path.exists(),
    }
}

/// Whether a folder is a pack and nothing else, so that replacing it loses nothing of the user's.
fn holds_pack(path: &Path) -> bool {
    let manifest = std::fs::read(path.join(FILE)).ok();
    let manifest = manifest.and_then(|bytes| PackManifest::from_json(&bytes).ok());
    let (Some(manifest), Ok(mut entries)) = (manifest, std::fs::read_dir(path)) else {
        return false;
    };
    entries.all(|entry| {
        let name = entry.map(|entry| entry.file_name());
        name.is_ok_and(|name| name == FILE || manifest.parts().any(|part| name == *part.path))
    })
}
