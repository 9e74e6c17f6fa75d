//! From a path to the files of a checkpoint. Native only.

use std::path::Path;

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

/// The files of a Hugging Face folder, weights mapped. Which of them count is for [`crate::folder::Folder`] to say.
pub(crate) fn folder(path: &Path) -> Result<Files> {
    let not_found = |found: &str, hint: String| CheckpointError::NotFound {
        path: path.into(),
        expected: "a folder with config.json and *.safetensors".into(),
        found: found.into(),
        hint,
    };
    if !path.exists() {
        return Err(not_found(
            "nothing",
            "ls, or pass a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct".into(),
        ));
    }
    if !path.is_dir() {
        let parent = path.parent().unwrap_or(path).display().to_string();
        return Err(not_found(
            "a file",
            format!("pass the folder that holds it: {parent}"),
        ));
    }
    let mut files = Files::new();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(CheckpointError::io(path))? {
        let entry = entry.map_err(CheckpointError::io(path))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    if !names.iter().any(|name| name == "config.json") {
        return Err(if names.iter().any(|name| name == "adapter_config.json") {
            not_found(
                "a LoRA adapter",
                format!(
                    "name its base model with --model and add --adapter {}",
                    path.display()
                ),
            )
        } else {
            not_found("no config.json", format!("ls {}", path.display()))
        });
    }
    for name in names {
        let file = path.join(&name);
        if SIDE_FILES.contains(&name.as_str()) {
            let bytes = std::fs::read(&file).map_err(CheckpointError::io(&file))?;
            files.insert(name, FileBytes::from(bytes));
        } else if name.ends_with(".safetensors") {
            files.insert(name, FileBytes::map(&file)?);
        }
    }
    Ok(files)
}
