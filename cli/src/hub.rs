//! Models from the Hugging Face hub, in its standard cache (`HF_HOME`, `HF_HUB_CACHE`).

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result};
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use hf_hub::{HFClientSync, HFError};
use indicatif::ProgressBar;

use crate::error::Annotate;
use crate::model::style;

/// What a model needs of its repository.
const FILES: [&str; 3] = ["*.json", "*.safetensors", "*.jinja"];

/// Whether a text has the form of a hub id, `owner/name`, and not that of a path.
pub fn is_id(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match text.split_once('/') {
        Some((owner, name)) => part(owner) && part(name) && !name.ends_with(".gguf"),
        None => false,
    }
}

/// The folder of a model in the hub's cache, fetched where it is not there or not the newest. With `HF_HUB_OFFLINE` set,
/// and where the hub can't be reached, what the cache has.
pub fn folder(id: &str) -> Result<PathBuf> {
    let client = HFClientSync::new().context("the hub's client could not be started")?;
    let (owner, name) = id.split_once('/').unwrap_or(("", id));
    let repository = client.model(owner, name);
    let cached = || repository.snapshot_download().local_files_only(true).send();
    if is_offline() {
        return cached()
            .with_context(|| format!("{id} is not in the hub's cache, and HF_HUB_OFFLINE is set"))
            .hint(format!("HF_HUB_OFFLINE=0 anylora inspect {id}"));
    }
    let fetched = repository
        .snapshot_download()
        .allow_patterns(FILES.map(str::to_owned).to_vec())
        .ignore_patterns(vec!["*/*".to_owned()])
        .progress(Bar::new()?)
        .send();
    match fetched {
        Ok(folder) => Ok(folder),
        Err(error) if is_unreachable(&error) => match cached() {
            Ok(folder) => {
                anstream::eprintln!("the hub can't be reached; using {}", folder.display());
                Ok(folder)
            }
            Err(_) => Err(error)
                .with_context(|| format!("{id} could not be fetched: the hub can't be reached"))
                .hint(
                    "pass a folder or a .gguf file with --model; `anylora fetch smollm2` gets a small model elsewhere",
                ),
        },
        Err(error) => Err(error)
            .with_context(|| format!("{id} could not be fetched from the hub"))
            .hint("check the id; for a model behind a licence, set HF_TOKEN")
            .or_request(),
    }
}

fn is_offline() -> bool {
    let set = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
    matches!(set.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// No answer from the hub itself, as opposed to a refusal.
fn is_unreachable(error: &HFError) -> bool {
    match error {
        HFError::Request { .. } | HFError::MalformedResponse { .. } => true,
        HFError::Http { context } => context.status.is_server_error(),
        _ => false,
    }
}

/// Bytes of a download on stderr.
struct Bar {
    bar: ProgressBar,
    /// Bytes of each file.
    files: Mutex<std::collections::HashMap<String, u64>>,
}

impl Bar {
    fn new() -> Result<Self> {
        let style = style("fetching {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?;
        Ok(Self {
            bar: ProgressBar::new(0).with_style(style),
            files: Mutex::default(),
        })
    }
}

impl ProgressHandler for Bar {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.bar.set_length(*total_bytes),
            DownloadEvent::Progress { files } => {
                let mut known = self
                    .files
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                for file in files {
                    known.insert(file.filename.clone(), file.bytes_completed);
                }
                self.bar.set_position(known.values().sum());
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => {
                self.bar.set_position(*bytes_completed);
            }
            DownloadEvent::Complete => self.bar.finish_and_clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_paths() {
        for id in ["HuggingFaceTB/SmolLM2-135M-Instruct", "meta-llama/Llama-3.2-1B"] {
            assert!(is_id(id), "{id}");
        }
        for path in [
            "model",
            "./model",
            "/a/b",
            "a/b/c",
            "models/x.gguf",
            "../x",
            "a/",
            "~/x",
        ] {
            assert!(!is_id(path), "{path}");
        }
    }
}
