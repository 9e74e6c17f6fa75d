//! Errors as JavaScript sees them.

use anylora_checkpoint::CheckpointError;
use anylora_data::{TemplateError, TokenizerError};
use anylora_engine_wgpu::OpenError;
use anylora_generate::GenerateError;
use anylora_models::ModelError;
use wasm_bindgen::JsValue;

/// What went wrong: a code to act on, a message to show, and one line on what to do.
#[derive(Debug)]
pub(crate) struct WebError {
    code: &'static str,
    message: String,
    hint: Option<String>,
}

/// The hint of bad files.
const PACK_AGAIN: &str = "pack the model again: anylora pack --model MODEL --out DIR";

/// The result of this crate's functions.
pub(crate) type Result<T> = std::result::Result<T, WebError>;

impl WebError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, hint: Option<&str>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }

    /// A wrong argument.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new("argument", message, None)
    }

    /// An error while a model loads onto a GPU whose buffers hold at most `most` bytes.
    pub(crate) fn of_model(error: ModelError, most: u64) -> Self {
        match &error {
            ModelError::Engine(anylora_engine::Error::OutOfMemory { requested, .. }) if *requested > most => {
                let message = format!(
                    "the model has a tensor of {requested} bytes, and this GPU's buffers hold at most {most}"
                );
                Self::new(
                    "limits",
                    message,
                    Some("take a smaller model, or another browser or GPU"),
                )
            }
            _ => error.into(),
        }
    }

    /// The same as an error of an adapter's files.
    pub(crate) fn of_adapter(self) -> Self {
        let code = if self.code == "format" {
            "adapter"
        } else {
            self.code
        };
        Self { code, ..self }
    }
}

impl From<WebError> for JsValue {
    fn from(error: WebError) -> Self {
        let object = js_sys::Error::new(&error.message);
        let set = |name: &str, value: JsValue| js_sys::Reflect::set(&object, &name.into(), &value).ok();
        set("code", error.code.into());
        set("hint", error.hint.map_or(JsValue::NULL, JsValue::from));
        object.into()
    }
}

impl From<CheckpointError> for WebError {
    fn from(error: CheckpointError) -> Self {
        let hint = match &error {
            CheckpointError::Unsupported { hint, .. } => hint.as_str(),
            _ => PACK_AGAIN,
        };
        Self::new("format", error.to_string(), Some(hint))
    }
}

impl From<anylora_engine::Error> for WebError {
    fn from(error: anylora_engine::Error) -> Self {
        use anylora_engine::Error;
        let (code, hint) = match &error {
            Error::DeviceLost(_) => ("device-lost", Some("reload the page")),
            Error::OutOfMemory { .. } => (
                "out-of-memory",
                Some("close other tabs that use the GPU, or take a smaller model"),
            ),
            Error::BindingLimit { .. } => ("limits", Some("take a smaller model, or another browser or GPU")),
            _ => ("internal", None),
        };
        Self::new(code, error.to_string(), hint)
    }
}

impl From<ModelError> for WebError {
    fn from(error: ModelError) -> Self {
        let (code, hint) = match error {
            ModelError::Checkpoint(error) => return error.into(),
            ModelError::Engine(error) => return error.into(),
            ModelError::Adapter(_) => ("adapter", error.hint()),
            ModelError::Token { .. } => ("argument", error.hint()),
            _ => ("format", Some(PACK_AGAIN.to_owned())),
        };
        Self::new(code, error.to_string(), hint.as_deref())
    }
}

impl From<GenerateError> for WebError {
    fn from(error: GenerateError) -> Self {
        let (code, hint) = match error {
            GenerateError::Model(error) => return error.into(),
            GenerateError::NoChatTemplate => ("argument", Some("pass a text and {raw: true}".to_owned())),
            GenerateError::EmptyPrompt => ("argument", Some("write something".to_owned())),
            GenerateError::NotANumber { .. } => (
                "internal",
                Some("the weights may be damaged, or the GPU's driver faulty".to_owned()),
            ),
            GenerateError::NoTokenizer => ("format", Some(PACK_AGAIN.to_owned())),
            GenerateError::Tokenizer(TokenizerError::Encode(_) | TokenizerError::Decode(_))
            | GenerateError::Template(TemplateError::Refused(_) | TemplateError::ReservedCharacter)
            | GenerateError::TooLong { .. }
            | GenerateError::Sampling { .. } => ("argument", error.hint()),
            GenerateError::Tokenizer(_) | GenerateError::Template(_) => {
                ("format", Some(PACK_AGAIN.to_owned()))
            }
        };
        Self::new(code, error.to_string(), hint.as_deref())
    }
}

impl From<OpenError> for WebError {
    fn from(error: OpenError) -> Self {
        let (code, message) = match error {
            OpenError::Request { reason, .. } => ("limits", format!("the GPU could not be opened: {reason}")),
            _ => (
                "no-webgpu",
                "this browser has WebGPU, but offers no GPU through it".to_owned(),
            ),
        };
        let hint =
            "update the browser and the GPU's driver, and turn hardware acceleration on in its settings";
        Self::new(code, message, Some(hint))
    }
}
