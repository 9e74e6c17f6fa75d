//! From the parts of a pack to an engine.

use std::cell::RefCell;

use anylora_checkpoint::{FileBytes, Files, PackManifest, SideFiles};
use anylora_engine::{Backend, DType, DeviceSpec};
use anylora_engine_wgpu::{OpenError, OpenOptions, Wgpu};
use anylora_generate::{GenerateError, Prompter};
use anylora_models::StreamLoader;
use wasm_bindgen::prelude::*;

use crate::Engine;
use crate::error::{Result, WebError};

/// Loads a pack: `new`, `file` for each of its files, `open`, then `begin`, `push` and `end` for each shard, `finish`.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Loader {
    manifest: PackManifest,
    files: RefCell<Files>,
    opened: RefCell<Option<Opened>>,
}

struct Opened {
    backend: Wgpu,
    prompter: Prompter,
    model: StreamLoader<Wgpu>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({:?})", self.backend)
    }
}

#[wasm_bindgen]
impl Loader {
    /// A loader of the pack whose manifest.json this is.
    ///
    /// # Errors
    /// `format` with everything that is wrong with it.
    #[wasm_bindgen(constructor)]
    pub fn new(manifest: &str) -> std::result::Result<Self, JsValue> {
        let manifest = PackManifest::from_json(manifest.as_bytes()).map_err(WebError::from)?;
        Ok(Self {
            manifest,
            files: RefCell::default(),
            opened: RefCell::default(),
        })
    }

    /// Takes a file that lies beside the shards.
    pub fn file(&self, name: String, bytes: Vec<u8>) {
        self.files.borrow_mut().insert(name, FileBytes::from(bytes));
    }

    /// Reads config and tokenizer, and opens the GPU.
    ///
    /// # Errors
    /// `format`, `no-webgpu`, `limits`.
    pub async fn open(&self) -> std::result::Result<(), JsValue> {
        let files = self.files.take();
        let side = SideFiles::read(&files).map_err(WebError::from)?;
        let prompter = prompter(&files, &side)?;
        drop(files);
        let backend = open().await?;
        let model = StreamLoader::new(&backend, &side.config, DType::F32).map_err(WebError::from)?;
        self.opened.replace(Some(Opened {
            backend,
            prompter,
            model,
        }));
        Ok(())
    }

    /// Begins the shard with this index in the manifest.
    ///
    /// # Errors
    /// `format`.
    pub fn begin(&self, shard: usize) -> std::result::Result<(), JsValue> {
        let part = self.manifest.shards.get(shard);
        let part = part.ok_or_else(|| WebError::argument(format!("there is no shard {shard}")))?;
        let len = usize::try_from(part.bytes).map_err(|_| WebError::argument("the shard is too large"))?;
        self.with(|opened| Ok(opened.model.begin(&part.path, len)?))
    }

    /// Takes the next bytes of the shard, which go to the GPU.
    ///
    /// # Errors
    /// `format` for a shard that is none or doesn't fit the model; `out-of-memory`, `limits`, `device-lost`.
    pub fn push(&self, piece: &[u8]) -> std::result::Result<(), JsValue> {
        self.with(|opened| {
            let most = opened.backend.caps().max_buffer_bytes;
            let pushed = opened.model.push(piece);
            pushed.map_err(|error| WebError::of_model(error, most))
        })
    }

    /// Ends the shard, and waits until the GPU has it.
    ///
    /// # Errors
    /// As [`Loader::push`].
    pub async fn end(&self) -> std::result::Result<(), JsValue> {
        let mut backend = None;
        self.with(|opened| {
            backend = Some(opened.backend.clone());
            Ok(opened.model.end()?)
        })?;
        if let Some(backend) = backend {
            backend.synchronize().await.map_err(WebError::from)?;
        }
        Ok(())
    }

    /// The engine, once all shards are there.
    ///
    /// # Errors
    /// `format` with every tensor that is missing; as [`Loader::push`].
    pub async fn finish(&self) -> std::result::Result<Engine, JsValue> {
        let opened = self.opened.take().ok_or_else(not_open)?;
        let model = opened.model.finish().map_err(WebError::from)?;
        opened.backend.synchronize().await.map_err(WebError::from)?;
        Ok(Engine::new(
            &self.manifest,
            opened.backend,
            model,
            opened.prompter,
        ))
    }

    fn with(&self, act: impl FnOnce(&mut Opened) -> Result<()>) -> std::result::Result<(), JsValue> {
        let mut opened = self.opened.borrow_mut();
        Ok(act(opened.as_mut().ok_or_else(not_open)?)?)
    }
}

fn not_open() -> WebError {
    WebError::argument("the loader is not open")
}

fn prompter(files: &Files, side: &SideFiles) -> Result<Prompter> {
    let json = files.get("tokenizer.json").ok_or(GenerateError::NoTokenizer)?;
    Ok(Prompter::from_parts(json, &side.tokenizer, &side.generation)?)
}

/// The GPU, or where the browser has none the software one: slow, but it answers.
async fn open() -> Result<Wgpu> {
    match Wgpu::open(DeviceSpec::Auto, OpenOptions::default()).await {
        Err(OpenError::NoHardware) => Ok(Wgpu::open(DeviceSpec::Software, OpenOptions::default()).await?),
        opened => Ok(opened?),
    }
}
