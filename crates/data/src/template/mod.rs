//! Chat templates: a conversation to the text that the model was trained on.
//!
//! A model's template is Jinja source made for Hugging Face transformers, which fixes what it may use:
//! `trim_blocks` and `lstrip_blocks`, loop controls, Python's string and dictionary methods,
//! `raise_exception`, `strftime_now`, a `tojson` without HTML escapes, and `{% generation %}` blocks.
//! Source: transformers, `src/transformers/utils/chat_template_utils.py`.

mod environment;
mod json;
mod marks;

use std::ops::Range;

use jiff::civil::DateTime;
pub(crate) use marks::{Rendered, mark_message};
use minijinja::{Environment, Value, value::Serde};
use serde::{Deserialize, Serialize};

use crate::tokenizer::TokenizerConfig;

/// What can be wrong with a template or a conversation.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The source is no valid Jinja.
    #[error("chat template: {}{}; expected a Jinja template as transformers accepts it", .0, detail(.0))]
    Syntax(minijinja::Error),
    /// The template itself refused the conversation with `raise_exception`.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template failed while it ran.
    #[error("chat template: {}{}", .0, detail(.0))]
    Render(minijinja::Error),
    /// A message holds a character that marks parts of the text.
    #[error("the conversation contains a character from U+F0000 to U+F0003, which AnyLoRA uses itself")]
    ReservedCharacter,
}

impl TemplateError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax(_) | Self::Render(_) => {
                Some("check the model's chat_template.jinja, or fetch the model again".into())
            }
            Self::Refused(_) => {
                Some("change the order or the roles of the messages as the template says".into())
            }
            Self::ReservedCharacter => Some("remove the character".into()),
        }
    }
}

/// The cause that minijinja keeps apart from its message.
fn detail(error: &minijinja::Error) -> String {
    std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default()
}

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
    /// Everything else that the data gives, handed to the template as it is (`tool_calls`, `name`, ...).
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message with nothing but role and text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            extra: serde_json::Map::new(),
        }
    }
}

/// How to render.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderOptions {
    /// End with the opening of an assistant turn, so that the model answers.
    pub add_generation_prompt: bool,
    /// Further variables of the template (`enable_thinking`, `tools`, ...).
    pub variables: serde_json::Map<String, serde_json::Value>,
}

impl RenderOptions {
    /// A prompt to answer: `add_generation_prompt` is true.
    pub fn prompt() -> Self {
        Self {
            add_generation_prompt: true,
            ..Self::default()
        }
    }
}

/// A model's chat template, compiled.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    has_generation_blocks: bool,
    special_tokens: Vec<(&'static str, String)>,
}

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Compiles `source`; the special tokens that templates write (`bos_token`, `eos_token`, ...) come
    /// from `config`. `strftime_now` tells the time of rendering, in UTC.
    pub fn new(source: &str, config: &TokenizerConfig) -> Result<Self, TemplateError> {
        let (prepared, has_generation_blocks) = marks::prepare(source);
        let mut environment = environment::transformers();
        environment
            .add_template_owned(NAME, prepared)
            .map_err(TemplateError::Syntax)?;
        let special_tokens = [
            ("bos_token", &config.bos_token),
            ("eos_token", &config.eos_token),
            ("pad_token", &config.pad_token),
            ("unk_token", &config.unk_token),
        ];
        let special_tokens = special_tokens
            .into_iter()
            .filter_map(|(name, token)| Some((name, token.clone()?)))
            .collect();
        Ok(Self {
            environment,
            source: source.to_owned(),
            has_generation_blocks,
            special_tokens,
        })
    }

    /// Fixes what `strftime_now` tells. A run that is resumed on another day must see the same text.
    #[must_use]
    pub fn with_now(mut self, now: DateTime) -> Self {
        environment::set_now(&mut self.environment, Some(now));
        self
    }

    /// Whether the template asks for the time (`strftime_now`).
    pub fn tells_time(&self) -> bool {
        self.source.contains("strftime_now")
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template marks what the assistant wrote with `{% generation %}` blocks.
    pub fn has_generation_blocks(&self) -> bool {
        self.has_generation_blocks
    }

    /// The text of a conversation.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TemplateError> {
        Ok(self.render_with_spans(messages, options)?.0)
    }

    /// The text of a conversation and the byte ranges that the template marks as the assistant's
    /// (none in a template without generation blocks).
    pub fn render_with_spans(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<(String, Vec<Range<usize>>), TemplateError> {
        if messages
            .iter()
            .any(|message| marks::holds_marks(&message.content))
        {
            return Err(TemplateError::ReservedCharacter);
        }
        let rendered = self.render_marked(messages, options)?;
        Ok((rendered.text, rendered.blocks))
    }

    /// Renders messages that may hold marks.
    pub(crate) fn render_marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, TemplateError> {
        let mut variables = serde_json::Map::new();
        for (name, token) in &self.special_tokens {
            variables.insert((*name).to_owned(), token.clone().into());
        }
        variables.extend(options.variables.clone());
        let context = minijinja::context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => options.add_generation_prompt,
            ..Value::from(Serde(&variables))
        };
        let template = self
            .environment
            .get_template(NAME)
            .map_err(TemplateError::Render)?;
        let marked = template.render(context).map_err(environment::refusal_or_error)?;
        Ok(marks::take_marks(&marked))
    }
}
