//! A model, as `inspect` shows it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use anylora_checkpoint::{Checkpoint, FileFormat, ModelConfig};
use anylora_generate::Prompter;
use anylora_models::registry;
use serde::Serialize;

use super::{grouped, line, size};
use crate::model::checkpoint_error;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    kind: &'static str,
    path: String,
    file_format: &'static str,
    family: String,
    supported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    architectures: Vec<String>,
    parameters: u64,
    bytes: u64,
    formats: Vec<Format>,
    config: Shapes,
    tokenizer: Option<TokenizerReport>,
    chat_template: Option<String>,
}

/// Tensors of one number format.
#[derive(Debug, Serialize)]
struct Format {
    format: String,
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

/// The hyperparameters, under config.json's names.
#[derive(Debug, Serialize)]
struct Shapes {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    tie_word_embeddings: bool,
    rope: String,
    sliding_window: Option<usize>,
}

#[derive(Debug, Serialize)]
struct TokenizerReport {
    tokens: usize,
    bos: Option<Token>,
    eos: Option<Token>,
    pad: Option<Token>,
    /// What ends a generated text.
    end: Vec<Token>,
}

#[derive(Debug, Serialize)]
struct Token {
    id: u32,
    text: String,
}

impl Report {
    /// Reads all but the weights.
    pub fn new(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path).map_err(checkpoint_error)?;
        let config = checkpoint.config();
        let mut formats: BTreeMap<String, Format> = BTreeMap::new();
        for name in checkpoint.names() {
            let info = checkpoint.info(name).map_err(checkpoint_error)?;
            let key = info.format.to_string();
            let format = formats.entry(key.clone()).or_insert(Format {
                format: key,
                tensors: 0,
                parameters: 0,
                bytes: 0,
            });
            format.tensors += 1;
            format.parameters += info.shape.iter().product::<usize>() as u64;
            format.bytes += info.bytes as u64;
        }
        let formats: Vec<_> = formats.into_values().collect();
        let problem = registry::architecture(config)
            .err()
            .map(|error| error.to_string());
        Ok(Self {
            kind: "model",
            path: path.display().to_string(),
            file_format: match checkpoint.format() {
                FileFormat::HuggingFace => "safetensors",
                FileFormat::Gguf => "gguf",
            },
            family: config.model_type.clone(),
            supported: problem.is_none(),
            problem,
            architectures: config.architectures.clone(),
            parameters: formats.iter().map(|format| format.parameters).sum(),
            bytes: formats.iter().map(|format| format.bytes).sum(),
            formats,
            config: Shapes::new(config),
            tokenizer: tokenizer(&checkpoint),
            chat_template: checkpoint.chat_template(),
        })
    }

    /// What is printed without `--json`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let out = &mut text;
        let classes = self.architectures.join(", ");
        let family = match (self.supported, classes.is_empty()) {
            (true, true) => self.family.clone(),
            (true, false) => format!("{} ({classes})", self.family),
            (false, _) => format!("{} (not supported)", self.family),
        };
        line(out, "family", &family);
        if let Some(problem) = &self.problem {
            line(out, "problem", problem);
        }
        line(
            out,
            "files",
            &format!("{}, {}", self.file_format, size(self.bytes)),
        );
        let tied = if self.config.tie_word_embeddings {
            ", head tied to the embedding"
        } else {
            ""
        };
        line(out, "parameters", &format!("{}{tied}", grouped(self.parameters)));
        for format in &self.formats {
            let value = format!(
                "{} in {}, {}",
                grouped(format.parameters),
                match format.tensors {
                    1 => "1 tensor".to_owned(),
                    count => format!("{count} tensors"),
                },
                size(format.bytes)
            );
            line(out, &format!("  {}", format.format), &value);
        }
        let shapes = &self.config;
        let blocks = format!(
            "{} blocks, hidden {}, MLP {}, heads {} of {} (key-value {})",
            shapes.num_hidden_layers,
            shapes.hidden_size,
            shapes.intermediate_size,
            shapes.num_attention_heads,
            shapes.head_dim,
            shapes.num_key_value_heads,
        );
        line(out, "shape", &blocks);
        let window = shapes
            .sliding_window
            .map_or(String::new(), |window| format!(", sliding window {window}"));
        let positions = format!(
            "{}, rope {}{window}",
            grouped(shapes.max_position_embeddings as u64),
            shapes.rope
        );
        line(out, "positions", &positions);
        match &self.tokenizer {
            None => line(out, "tokenizer", "none"),
            Some(tokenizer) => {
                let count = format!(
                    "{} tokens (embedding rows {})",
                    tokenizer.tokens, shapes.vocab_size
                );
                line(out, "tokenizer", &count);
                for (name, token) in [
                    ("bos", &tokenizer.bos),
                    ("eos", &tokenizer.eos),
                    ("pad", &tokenizer.pad),
                ] {
                    if let Some(token) = token {
                        line(out, &format!("  {name}"), &token.to_text());
                    }
                }
                let end: Vec<_> = tokenizer.end.iter().map(Token::to_text).collect();
                line(out, "ends with", &end.join(", "));
            }
        }
        match &self.chat_template {
            None => line(out, "chat template", "none"),
            Some(template) => {
                line(
                    out,
                    "chat template",
                    &format!("{} characters (--json shows it)", template.chars().count()),
                );
            }
        }
        text
    }
}

impl Shapes {
    fn new(config: &ModelConfig) -> Self {
        use anylora_checkpoint::RopeScaling;
        let scaling = match config.rope.scaling {
            RopeScaling::Default => String::new(),
            RopeScaling::Linear { factor } => format!(", linear x{factor}"),
            RopeScaling::Dynamic { factor, .. } => format!(", dynamic x{factor}"),
            RopeScaling::Llama3 { factor, .. } => format!(", llama3 x{factor}"),
            RopeScaling::Yarn { factor, .. } => format!(", yarn x{factor}"),
        };
        Self {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            vocab_size: config.vocab_size,
            max_position_embeddings: config.max_position_embeddings,
            tie_word_embeddings: config.tie_word_embeddings,
            rope: format!("theta {}{scaling}", config.rope.theta),
            sliding_window: config.sliding_windows.iter().flatten().next().copied(),
        }
    }
}

impl Token {
    fn to_text(&self) -> String {
        format!("{} ({})", self.text, self.id)
    }
}

fn tokenizer(checkpoint: &Checkpoint) -> Option<TokenizerReport> {
    let prompter = Prompter::new(checkpoint).ok()?;
    let tokenizer = prompter.tokenizer();
    let token = |id: u32| Token {
        id,
        text: tokenizer.id_to_token(id).unwrap_or_default(),
    };
    Some(TokenizerReport {
        tokens: tokenizer.vocab_size(),
        bos: tokenizer.bos_id().map(token),
        eos: tokenizer.eos_id().map(token),
        pad: tokenizer.pad_id().map(token),
        end: prompter.end_tokens().iter().copied().map(token).collect(),
    })
}
