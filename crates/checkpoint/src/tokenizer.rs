//! The files around the tokenizer: `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`.

use serde_json::{Map, Value};

use crate::fields::{Fields, parse_object};
use crate::{CheckpointError, Result};

/// What `tokenizer_config.json` says beside the tokenizer itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenizerConfig {
    /// The text of the begin-of-sequence token.
    pub bos_token: Option<String>,
    /// The text of the end-of-sequence token.
    pub eos_token: Option<String>,
    /// The text of the padding token.
    pub pad_token: Option<String>,
    /// The text of the token for what the vocabulary lacks.
    pub unk_token: Option<String>,
    /// Whether a text gets the begin-of-sequence token, where the file says so.
    pub add_bos_token: Option<bool>,
    /// Whether a text gets the end-of-sequence token, where the file says so.
    pub add_eos_token: Option<bool>,
    /// Chat templates (Jinja) by name; a sole one is called `default`.
    pub chat_templates: Vec<(String, String)>,
    /// The whole object, for fields that have no name here.
    pub raw: Map<String, Value>,
}

impl TokenizerConfig {
    /// Parses tokenizer_config.json.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every wrong field.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let file = "tokenizer_config.json";
        let raw = parse_object(file, bytes)?;
        let mut f = Fields::new(file, "", &raw);
        let config = Self {
            bos_token: token(&mut f, "bos_token"),
            eos_token: token(&mut f, "eos_token"),
            pad_token: token(&mut f, "pad_token"),
            unk_token: token(&mut f, "unk_token"),
            add_bos_token: f.boolean("add_bos_token"),
            add_eos_token: f.boolean("add_eos_token"),
            chat_templates: templates(&mut f),
            raw: Map::new(),
        };
        f.problems.into_result()?;
        Ok(Self { raw, ..config })
    }

    /// The template to use where none is named: `default`, or else the first.
    pub fn chat_template(&self) -> Option<&str> {
        let default = self.chat_templates.iter().find(|(name, _)| name == "default");
        let (_, template) = default.or(self.chat_templates.first())?;
        Some(template)
    }
}

/// A token's text: a string, or an object with `content`.
fn token(f: &mut Fields<'_>, name: &str) -> Option<String> {
    let text = match f.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Object(token) => token.get("content").and_then(Value::as_str).map(String::from),
        _ => None,
    };
    if text.is_none() {
        f.problem(name, "a text or an object with `content`", "another kind");
    }
    text
}

/// `chat_template`: a text, or a list of `{name, template}`.
fn templates(f: &mut Fields<'_>) -> Vec<(String, String)> {
    let text = |item: &Value, name| item.get(name).and_then(Value::as_str).map(String::from);
    let templates = match f.get("chat_template") {
        None => Some(Vec::new()),
        Some(Value::String(template)) => Some(vec![("default".into(), template.clone())]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| Some((text(item, "name")?, text(item, "template")?)))
            .collect(),
        Some(_) => None,
    };
    templates.unwrap_or_else(|| {
        f.problem(
            "chat_template",
            "a text or a list of objects with `name` and `template`",
            "another kind",
        );
        Vec::new()
    })
}

/// A text file that must be UTF-8.
pub(crate) fn utf8(file: &str, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| {
        let place = format!("byte {}", error.utf8_error().valid_up_to());
        CheckpointError::malformed(file, place, "UTF-8", "another encoding")
    })
}
