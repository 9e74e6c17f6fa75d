//! The user's cache folder: demo models, and packed weights for the next start.

use std::fmt::Write;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use anylora_checkpoint::Checkpoint;
use anylora_models::{Packed, Quantization};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::model::model_error;

/// A folder in the user's cache, made where it isn't there.
pub fn folder(name: &str) -> Result<PathBuf> {
    let cache = dirs::cache_dir().context("this system names no cache folder")?;
    let folder = cache.join("anylora").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
    Ok(folder)
}

/// What was found for `key` before, unless it is to be found `again`, else what `find` finds now, which is kept. A cache
/// that can't be read or written is none.
pub fn kept<T: Serialize + DeserializeOwned>(
    name: &str,
    key: &str,
    again: bool,
    find: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let hash = hex(&Sha256::digest(key.as_bytes()));
    let folder = folder(name).ok();
    let file = folder
        .as_ref()
        .map(|folder| folder.join(format!("{}.json", &hash[..32])));
    let before = file
        .as_ref()
        .filter(|_| !again)
        .and_then(|file| std::fs::read(file).ok());
    if let Some(found) = before.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(found);
    }
    let found = find()?;
    if let (Some(folder), Some(file), Ok(bytes)) = (folder, file, serde_json::to_vec(&found)) {
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut new| {
            new.write_all(&bytes)?;
            new.persist(file).map_err(|error| error.error)
        });
        // The next run measures again.
        written.ok();
    }
    Ok(found)
}

/// The packed layers of the model at `path`, made where they are not in the cache or its files have changed since.
pub fn packed(path: &Path, checkpoint: &Checkpoint, quantization: Quantization) -> Result<Packed> {
    let path = path
        .canonicalize()
        .with_context(|| format!("{} could not be resolved", path.display()))?;
    let name = hash(path.as_os_str().as_encoded_bytes());
    let file = folder("packed")?.join(format!("{}.safetensors", &name[..32]));
    let fingerprint = fingerprint(&path)?;
    if let Some(packed) = Packed::open(&file, &fingerprint, quantization) {
        return Ok(packed);
    }
    anstream::eprintln!("packing linear layers into {}", file.display());
    Packed::write(&file, &fingerprint, checkpoint, quantization).map_err(model_error)?;
    Packed::open(&file, &fingerprint, quantization)
        .with_context(|| format!("{} was written and can't be read back", file.display()))
}

/// Bytes of each file that are hashed: the headers of safetensors and GGUF files, and whole configs.
const HASHED: u64 = 1 << 16;

/// Size, time of change and a hash of the beginning of every file that the weights come from.
pub fn fingerprint(path: &Path) -> Result<String> {
    let unreadable = |path: &Path| format!("{} could not be read", path.display());
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| unreadable(path))?;
        files = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let extension = path.extension().unwrap_or_default();
                ["safetensors", "gguf"].iter().any(|known| extension == *known)
                    || path.ends_with("config.json")
            })
            .collect();
        files.sort();
    }
    let mut text = String::new();
    for path in files {
        let about = path.metadata().with_context(|| unreadable(&path))?;
        let changed = about
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mut start = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(HASHED).read_to_end(&mut start))
            .with_context(|| unreadable(&path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hash = hash(&start);
        let nanoseconds = changed.unwrap_or_default().as_nanos();
        // Writing to a String doesn't fail.
        let _ = write!(text, "{name} {} {nanoseconds} {hash};", about.len());
    }
    Ok(text)
}

/// The SHA-256 of a file in lower-case hexadecimal digits.
pub fn digest(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut read = || {
        let mut file = std::fs::File::open(path)?;
        let mut part = vec![0; 1 << 16];
        loop {
            match file.read(&mut part)? {
                0 => return Ok::<_, std::io::Error>(()),
                count => hash.update(&part[..count]),
            }
        }
    };
    read().with_context(|| format!("{} could not be read", path.display()))?;
    Ok(hex(&hash.finalize()))
}

/// The SHA-256 of some bytes in lower-case hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
