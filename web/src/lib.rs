//! AnyLoRA in a browser: what `web/js/worker.js` calls.
//!
//! - [`Loader`]: takes a pack's files and the pieces of its shards, and gives the engine.
//! - [`Engine`]: a model on the GPU with the adapters that were added to it; generates text.
//!
//! Structured values cross the border as JSON. Errors are JavaScript `Error`s with a `code` and, where there is one, a
//! `hint`; `web/js/index.d.ts` lists the codes. Nothing here downloads, and nothing keeps weights in wasm memory.

mod engine;
mod error;
mod loader;
mod request;

pub use engine::Engine;
pub use loader::Loader;

use wasm_bindgen::prelude::*;

#[wasm_bindgen(start)]
fn start() {
    // A panic ends the instance; the worker shows the message that is left here.
    std::panic::set_hook(Box::new(|info| {
        let message = JsValue::from_str(&info.to_string());
        js_sys::Reflect::set(&js_sys::global(), &"anyloraPanic".into(), &message).ok();
    }));
}
