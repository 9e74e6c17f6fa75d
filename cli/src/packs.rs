//! Models as the browser loads them: written where the user says, or kept in the user's cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use anylora_checkpoint::{Checkpoint, CheckpointError, PackManifest};
use anylora_models::{ModelError, Quantization};
use indicatif::ProgressBar;

use crate::cache;
use crate::error::{Annotate, request};
use crate::model::{self, Quant, model_error, style};

/// A model that a browser can load.
pub struct Packed {
    /// The pack's folder.
    pub folder: PathBuf,
    /// What it consists of.
    pub manifest: PackManifest,
}

/// Packs a checkpoint into a folder, with a progress bar on stderr.
pub fn write(
    checkpoint: &Checkpoint,
    quant: Quant,
    folder: &Path,
    name: &str,
    max_shard_bytes: usize,
) -> Result<PackManifest> {
    if checkpoint.tokenizer_json().is_none() {
        let error = request("the model has no tokenizer, which the browser needs");
        return Err(error).hint("copy tokenizer.json and tokenizer_config.json into the model's folder");
    }
    let quantization = (quant == Quant::Nf4).then(Quantization::nf4);
    let bar = ProgressBar::new(0).with_style(style("packing {wide_bar} {pos}/{len} tensors {eta}")?);
    let packed = anylora_models::pack(
        checkpoint,
        quantization,
        folder,
        name,
        max_shard_bytes,
        |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        },
    );
    bar.finish_and_clear();
    packed.map_err(|error| match error {
        ModelError::Checkpoint(CheckpointError::Io { path, source })
            if source.kind() == std::io::ErrorKind::AlreadyExists =>
        {
            let found = format!("{} holds something that is no pack", path.display());
            let hint = format!(
                "--out {}-packed, or another folder that is not there",
                path.display()
            );
            crate::error::note(anyhow::Error::msg(found), true, Some(hint))
        }
        error => model_error(error),
    })
}

/// What people call the model that `--model` names: the last part of a hub id or of a path.
pub fn name(model: &str, path: &Path) -> String {
    let is_gguf = path.extension().is_some_and(|extension| extension == "gguf");
    let path = if path.exists() && !Path::new(model).exists() {
        // A hub id's folder is named by its revision.
        PathBuf::from(model)
    } else {
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    };
    let name = if is_gguf {
        path.file_stem()
    } else {
        path.file_name()
    };
    let name = name.map_or("model".into(), |name| name.to_string_lossy());
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The pack that `--model` is, or else one of it in the user's cache, made where it is not there or the model's files
/// have changed since.
pub fn find(model: &str, quant: Quant) -> Result<Packed> {
    let path = model::path(model)?;
    if let Some(manifest) = read(&path)? {
        return Ok(Packed {
            folder: path,
            manifest,
        });
    }
    let checkpoint = model::open(model)?;
    let source = path
        .canonicalize()
        .with_context(|| format!("{} could not be resolved", path.display()))?;
    let source_hash = &cache::hash(source.as_os_str().as_encoded_bytes())[..16];
    let content_hash = &cache::hash(cache::fingerprint(&source)?.as_bytes())[..16];
    let format = match quant {
        Quant::Nf4 => "nf4",
        Quant::None => "none",
    };
    let prefix = format!("{source_hash}-{format}-");
    let packs = cache::folder("packs")?;
    let folder = packs.join(format!("{prefix}{content_hash}"));
    let manifest = match read(&folder) {
        Ok(Some(manifest)) => manifest,
        _ => {
            anstream::eprintln!("packing {model} into {}", folder.display());
            remove_stale(&packs, &prefix);
            let max = anylora_checkpoint::MAX_PART_BYTES as usize;
            write(&checkpoint, quant, &folder, &name(model, &path), max)?
        }
    };
    Ok(Packed { folder, manifest })
}

/// The manifest of a pack; None where the folder is none. Parts are compared by their length: the browser, which
/// compares their hashes, would otherwise tell what `--model` can tell at once.
fn read(folder: &Path) -> Result<Option<PackManifest>> {
    let path = folder.join("manifest.json");
    let Ok(bytes) = std::fs::read(&path) else {
        return Ok(None);
    };
    let hint = "pack the model again: anylora pack --model MODEL --out DIR";
    let manifest = PackManifest::from_json(&bytes)
        .with_context(|| format!("{} could not be used", path.display()))
        .hint(hint)?;
    for part in manifest.parts() {
        let path = folder.join(&part.path);
        let found = path.metadata().map(|about| about.len());
        if !matches!(found, Ok(bytes) if bytes == part.bytes) {
            let found = found.map_or("no such file".to_owned(), |bytes| format!("{bytes} bytes"));
            let message = format!("{}: expected {} bytes, found {found}", path.display(), part.bytes);
            return Err(anyhow::Error::msg(message)).hint(hint);
        }
    }
    Ok(Some(manifest))
}

/// How long a pack may take. What is older under a temporary name was left by a program that was killed.
const LEFT: Duration = Duration::from_secs(24 * 3600);

/// Removes packs of what the model's files were before, and what killed programs left of them.
fn remove_stale(packs: &Path, prefix: &str) {
    let entries = std::fs::read_dir(packs).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_left = || {
            let changed = entry.metadata().and_then(|about| about.modified()).ok();
            let age = changed.and_then(|changed| changed.elapsed().ok());
            age.is_some_and(|age| age > LEFT)
        };
        let temporary = name.strip_prefix('.');
        if name.starts_with(prefix) || temporary.is_some_and(|name| name.starts_with(prefix) && is_left()) {
            // One that can't be removed takes room and no more.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_people() {
        assert_eq!(
            name("/models/Tiny.Q4_1.gguf", Path::new("/models/Tiny.Q4_1.gguf")),
            "Tiny.Q4_1"
        );
        assert_eq!(
            name("models/tiny-llama/", Path::new("models/tiny-llama/")),
            "tiny-llama"
        );
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(
            name("HuggingFaceTB/SmolLM2-135M", Path::new(here)),
            "SmolLM2-135M"
        );
        assert_eq!(name(here, Path::new(here)), "cli");
    }
}
