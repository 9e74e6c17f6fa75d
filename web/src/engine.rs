//! A model on the GPU, its adapters, and text.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anylora_checkpoint::{Adapter, PackManifest};
use anylora_engine::{Backend, MemoryKind};
use anylora_engine_wgpu::Wgpu;
use anylora_generate::{Event, FinishReason, Memory, Prompter, Session, generate};
use anylora_models::Model;
use anylora_nn::Adapters;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::error::{Result, WebError};
use crate::request::Request;

/// A model with its adapters. Calls that read the model come one at a time; the worker sees to that.
#[wasm_bindgen]
pub struct Engine {
    name: String,
    quantization: &'static str,
    backend: Wgpu,
    model: Model<Wgpu>,
    prompter: Prompter,
    adapters: RefCell<BTreeMap<String, (u64, Adapters<Wgpu>)>>,
    /// Counts adapters, so that one under a name that was used before is another.
    added: Cell<u64>,
    /// What was read last, and with which adapter and scale.
    memory: RefCell<(Key, Memory<Wgpu>)>,
    busy: Cell<bool>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({}, {:?})", self.name, self.backend)
    }
}

/// An adapter's number and its scale's bits; nothing for the base model.
type Key = Option<(u64, u32)>;

/// The size of this instance's memory, which only grows.
fn wasm_bytes() -> f64 {
    let buffer = js_sys::Reflect::get(&wasm_bindgen::memory(), &"buffer".into());
    let bytes = buffer.and_then(|buffer| js_sys::Reflect::get(&buffer, &"byteLength".into()));
    bytes.ok().and_then(|bytes| bytes.as_f64()).unwrap_or(0.0)
}

/// The model is free again, whatever way the call ends.
struct Busy<'a>(&'a Cell<bool>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Engine {
    pub(crate) fn new(
        manifest: &PackManifest,
        backend: Wgpu,
        model: Model<Wgpu>,
        prompter: Prompter,
    ) -> Self {
        Self {
            name: manifest.name.clone(),
            quantization: manifest.quantization.name(),
            backend,
            model,
            prompter,
            adapters: RefCell::default(),
            added: Cell::default(),
            memory: RefCell::default(),
            busy: Cell::default(),
        }
    }

    fn occupy(&self) -> Result<Busy<'_>> {
        if self.busy.replace(true) {
            return Err(WebError::argument("the model is answering already"));
        }
        Ok(Busy(&self.busy))
    }

    /// The adapter that a request names, scaled.
    fn adapter(&self, request: &Request) -> Result<(Key, Option<Adapters<Wgpu>>)> {
        let scale = request.scale.unwrap_or(1.0);
        if !scale.is_finite() {
            return Err(WebError::argument("scale: expected a number"));
        }
        let Some(name) = request.adapter.as_ref().filter(|_| scale != 0.0) else {
            return Ok((None, None));
        };
        let adapters = self.adapters.borrow();
        let (number, adapters) = adapters.get(name).ok_or_else(|| {
            WebError::argument(format!(
                "adapter: expected the name of one that was added, found {name:?}"
            ))
        })?;
        Ok((Some((*number, scale.to_bits())), Some(adapters.scaled(scale))))
    }

    /// What was read before, where it was read with the same adapter.
    fn recall(&self, key: Key) -> Memory<Wgpu> {
        let (last, memory) = self.memory.take();
        if last == key { memory } else { Memory::default() }
    }

    async fn answer(&self, request: &Request, on_event: &js_sys::Function) -> Result<Value> {
        let _busy = self.occupy()?;
        let prompt = request.tokens(&self.prompter)?;
        let (key, adapters) = self.adapter(request)?;
        let mut session = Session::resume(&self.model, adapters.as_ref(), self.recall(key));
        let tell = |event: Event<'_>| {
            let (kind, value) = match event {
                Event::Prompt { tokens } => ("prompt", JsValue::from(tokens as u32)),
                Event::Token(token) => ("token", JsValue::from(token)),
                Event::Text(text) => ("text", JsValue::from(text)),
            };
            match on_event.call2(&JsValue::NULL, &kind.into(), &value) {
                Ok(stop) if stop.is_falsy() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        let options = request.options();
        let generated = generate(&mut session, &self.prompter, &prompt, &options, tell).await?;
        self.memory.replace((key, session.into_memory()));
        Ok(json!({
            "promptTokens": prompt.len(),
            "tokens": generated.tokens.len(),
            "finish": match generated.finish {
                FinishReason::EndToken(_) => "end",
                FinishReason::StopString => "stop",
                FinishReason::Length => "length",
                FinishReason::Cancelled => "aborted",
            },
        }))
    }

    async fn last_logits(&self, request: &Request) -> Result<Vec<f32>> {
        let _busy = self.occupy()?;
        let prompt = request.tokens(&self.prompter)?;
        let (key, adapters) = self.adapter(request)?;
        let mut session = Session::resume(&self.model, adapters.as_ref(), self.recall(key));
        let logits = session.read(&prompt, 0).await?;
        self.memory.replace((key, session.into_memory()));
        Ok(logits)
    }

    async fn add(&self, name: String, config: &[u8], weights: &[u8]) -> Result<Value> {
        if name.is_empty() {
            return Err(WebError::argument("an adapter needs a name"));
        }
        let adapter =
            Adapter::from_bytes(config, weights).map_err(|error| WebError::from(error).of_adapter())?;
        let on_device = anylora_models::adapters(&self.backend, &self.model.config, &adapter, false)?;
        self.backend.synchronize().await?;
        self.added.set(self.added.get() + 1);
        let info = json!({
            "name": name,
            "rank": adapter.config.r,
            "parameters": adapter.parameters(),
            "modules": adapter.modules.len(),
            "baseModel": adapter.config.base_model_name_or_path,
            "warnings": adapter.warnings.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        self.adapters
            .borrow_mut()
            .insert(name, (self.added.get(), on_device));
        Ok(info)
    }
}

#[wasm_bindgen]
impl Engine {
    /// The model and the GPU, in JSON: `ModelInfo` of `index.d.ts`.
    pub fn info(&self) -> String {
        let (model, caps) = (&self.model, self.backend.caps());
        let device = self.backend.info();
        json!({
            "name": self.name,
            "modelType": model.config.model_type,
            "quantization": self.quantization,
            "parameters": model.parameters(),
            "vocabSize": model.config.vocab_size,
            "maxLength": model.max_length(),
            "hasChatTemplate": self.prompter.template().is_some(),
            "device": {
                "name": device.name,
                "isSoftware": self.backend.is_software(),
                "maxBufferBytes": caps.max_buffer_bytes,
            },
        })
        .to_string()
    }

    /// Bytes in JSON: `wasm`, the size of this instance's memory; `device`, what tensors and the pool hold on the GPU;
    /// `weights` and `adapters`, their shares of it.
    pub fn memory(&self) -> String {
        let report = self.backend.ledger().report();
        json!({
            "wasm": wasm_bytes(),
            "device": self.backend.reserved_bytes(),
            "weights": report.live_of(MemoryKind::Weights),
            "adapters": report.live_of(MemoryKind::Adapter),
        })
        .to_string()
    }

    /// Puts a PEFT adapter on the GPU under a name, in place of one that had it: the bytes of adapter_config.json and
    /// adapter_model.safetensors. Returns `AdapterInfo` of `index.d.ts` in JSON.
    ///
    /// # Errors
    /// `adapter` with every tensor that doesn't fit the model, and why; device errors.
    #[wasm_bindgen(js_name = addAdapter)]
    pub async fn add_adapter(
        &self,
        name: String,
        config: Vec<u8>,
        weights: Vec<u8>,
    ) -> std::result::Result<String, JsValue> {
        Ok(self.add(name, &config, &weights).await?.to_string())
    }

    /// Frees an adapter; says whether there was one of this name.
    #[wasm_bindgen(js_name = removeAdapter)]
    pub fn remove_adapter(&self, name: &str) -> bool {
        self.adapters.borrow_mut().remove(name).is_some()
    }

    /// Whether an adapter of this name was added.
    #[wasm_bindgen(js_name = hasAdapter)]
    pub fn has_adapter(&self, name: &str) -> bool {
        self.adapters.borrow().contains_key(name)
    }

    /// Answers a request in JSON. `on_event(kind, value)` sees `prompt` with its number of tokens, `token` with an id and
    /// `text` with more text, and ends the answer by returning true. Returns how it ended, in JSON.
    ///
    /// # Errors
    /// `argument`, device errors.
    pub async fn generate(
        &self,
        request: String,
        on_event: js_sys::Function,
    ) -> std::result::Result<String, JsValue> {
        let request = Request::parse(&request)?;
        Ok(self.answer(&request, &on_event).await?.to_string())
    }

    /// The logits `[V]` that follow a request's prompt.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub async fn logits(&self, request: String) -> std::result::Result<Vec<f32>, JsValue> {
        let request = Request::parse(&request)?;
        Ok(self.last_logits(&request).await?)
    }

    /// Resolves with the reason once the GPU is lost.
    pub async fn lost(&self) -> String {
        self.backend.lost().await
    }

    /// Frees the GPU. Every call after it fails.
    pub fn destroy(&self) {
        self.backend.destroy();
    }
}
