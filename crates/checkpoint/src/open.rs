//! From a path to the files of a checkpoint. Native only.

use std::path::{Path, PathBuf};

use crate::folder::Files;
use crate::{CheckpointError, FileBytes, Result};

/// Files that a checkpoint may have beside its weights.
const SIDE_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
];

/// What a path holds.
pub(crate) enum Found {
    /// The files of a Hugging Face folder; which of them count is for [`crate::folder::Folder`] to say.
    Folder(Files),
    /// A GGUF file.
    Gguf { name: String, bytes: FileBytes },
}

/// Finds a model at `path`, with the weights mapped.
pub(crate) fn find(path: &Path) -> Result<Found> {
    if !path.exists() {
        let hint = "ls, or pass a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct";
        return Err(not_found(path, "nothing", hint.into()));
    }
    let is_gguf = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
    };
    if !path.is_dir() {
        if is_gguf(path) {
            return gguf(path);
        }
        // A name alone has an empty one.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).display();
        return Err(not_found(
            path,
            "a file",
            format!("pass the folder that holds it: {parent}"),
        ));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(CheckpointError::io(path))? {
        files.push(entry.map_err(CheckpointError::io(path))?.path());
    }
    let has = |name: &str| {
        files
            .iter()
            .any(|file| file.file_name().is_some_and(|found| found == name))
    };
    if has("config.json") {
        return folder(&files);
    }
    let ggufs: Vec<_> = files.iter().filter(|file| is_gguf(file)).collect();
    match ggufs.as_slice() {
        _ if has("adapter_config.json") => {
            let hint = format!(
                "name its base model with --model and add --adapter {}",
                path.display()
            );
            Err(not_found(path, "a LoRA adapter", hint))
        }
        [file] => gguf(file),
        [] => Err(not_found(
            path,
            "no config.json",
            format!("ls {}", path.display()),
        )),
        [file, ..] => Err(not_found(
            path,
            &format!("{} GGUF files", ggufs.len()),
            format!("name one of them: {}", file.display()),
        )),
    }
}

fn not_found(path: &Path, found: &str, hint: String) -> CheckpointError {
    CheckpointError::NotFound {
        path: path.into(),
        expected: "a folder with config.json and *.safetensors, or a .gguf file".into(),
        found: found.into(),
        hint,
    }
}

fn gguf(path: &Path) -> Result<Found> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(Found::Gguf {
        name: name.to_string_lossy().into_owned(),
        bytes: FileBytes::map(path)?,
    })
}

fn folder(paths: &[PathBuf]) -> Result<Found> {
    let mut files = Files::new();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if SIDE_FILES.contains(&name) {
            let bytes = std::fs::read(path).map_err(CheckpointError::io(path))?;
            files.insert(name.into(), FileBytes::from(bytes));
        } else if name.ends_with(".safetensors") {
            files.insert(name.into(), FileBytes::map(path)?);
        }
    }
    Ok(Found::Folder(files))
}
