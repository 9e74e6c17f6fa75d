use std::fmt;

use anylora_checkpoint::CheckpointError;

/// What keeps a checkpoint from becoming a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The checkpoint's files are bad.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The device refused.
    #[error(transparent)]
    Engine(#[from] anylora_engine::Error),
    /// No family has this `model_type`.
    #[error("config.json: model_type: expected one of {}, found {found:?}", supported.join(", "))]
    UnknownFamily {
        /// The names that are supported.
        supported: Vec<&'static str>,
        /// The checkpoint's.
        found: String,
    },
    /// A setting of config.json that the family's layers don't do here.
    #[error("config.json: {field}: expected {expected}, found {found}")]
    UnsupportedConfig {
        /// The field.
        field: &'static str,
        /// What is supported.
        expected: String,
        /// What the checkpoint has.
        found: String,
    },
    /// Tensors that are missing, left over, or of the wrong shape or type: all of them.
    #[error("{}", listed("tensor", .0))]
    Tensors(Vec<TensorProblem>),
    /// An adapter's tensors that don't fit the model or whose module it doesn't have: all of them; none where the adapter
    /// has no module.
    #[error("the adapter does not fit the model: {}", if .0.is_empty() { "it has no module".to_owned() } else { listed("tensor", .0) })]
    Adapter(Vec<TensorProblem>),
    /// A tensor that can't be quantized.
    #[error("tensor `{name}`: {source}")]
    Quantize {
        /// The tensor.
        name: String,
        /// Why.
        source: anylora_quant::QuantError,
    },
    /// A value that the type asked for can't hold.
    #[error("tensor `{name}`: {value:e} is outside of what its type can hold")]
    OutOfRange {
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
    },
    /// Target modules that match no linear layer, or one that can't have an adapter.
    #[error("target modules: {0}")]
    Targets(String),
    /// Blocks that the model doesn't have.
    #[error("layers {} to {last}: the model has layers 0 to {}", .first, .count.saturating_sub(1))]
    Layers {
        /// The first block asked for.
        first: usize,
        /// The last.
        last: usize,
        /// The model's blocks.
        count: usize,
    },
    /// Token ids that the model doesn't have.
    #[error("token {id} at position {position}: expected below {vocab_size}, the model's vocab_size")]
    Token {
        /// The id.
        id: u32,
        /// Its place in the input.
        position: usize,
        /// The number of tokens.
        vocab_size: usize,
    },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, ModelError>;

impl ModelError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::UnknownFamily { .. } | Self::UnsupportedConfig { .. } => {
                Some("`anylora inspect PATH` shows what a checkpoint holds".to_owned())
            }
            Self::Tensors(_) => Some(
                "the files may belong to another model or be incomplete: `anylora inspect PATH`".to_owned(),
            ),
            Self::Adapter(_) => Some(
                "pass the base model that it was trained on: adapter_config.json names it as base_model_name_or_path"
                    .to_owned(),
            ),
            Self::Quantize { .. } => Some("load it without quantization: --quant none".to_owned()),
            Self::OutOfRange { .. } => Some("bf16 has the range of f32: --dtype bf16".to_owned()),
            Self::Layers { count, .. } => Some(format!("--layers 0..{count} is all of them")),
            Self::Targets(_) => Some("--target-modules all-linear, or q_proj,v_proj".to_owned()),
            Self::Token { .. } => {
                Some("the tokens come from another model's tokenizer: pass the model's own folder".to_owned())
            }
            Self::Engine(_) => None,
        }
    }
}

/// One tensor that is not as the family has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorProblem {
    /// Its name.
    pub name: String,
    /// What the family has.
    pub expected: String,
    /// What the checkpoint has.
    pub found: String,
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            expected,
            found,
        } = self;
        write!(f, "`{name}`: expected {expected}, found {found}")
    }
}

/// One problem on its line, or all below a count.
fn listed(what: &str, problems: &[TensorProblem]) -> String {
    match problems {
        [problem] => problem.to_string(),
        problems => problems
            .iter()
            .fold(format!("{} bad {what}s", problems.len()), |text, problem| {
                format!("{text}\n  {problem}")
            }),
    }
}
