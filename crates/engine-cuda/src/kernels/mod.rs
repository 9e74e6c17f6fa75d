//! The launchers. Each function is the method of [`anylora_engine::Backend`] with its name, which states formula and
//! shapes; arguments were checked by [`anylora_engine::ops`].

pub(crate) mod attention;
pub(crate) mod decode;
pub(crate) mod elementwise;
pub(crate) mod linear;
pub(crate) mod lora;
pub(crate) mod loss;
pub(crate) mod optimizer;
pub(crate) mod rows;

use anylora_engine::Error;

/// The error of an operation on blocks of GGUF: whoever loads a model widens them for this engine.
pub(crate) fn packed(op: &'static str, what: &str) -> Error {
    Error::Unsupported {
        op,
        what: what.to_owned(),
        engine: "cuda".to_owned(),
    }
}
