//! What a model is worth on held-out data: perplexity, and classification by the likelihood of label words.

mod classification;
mod glue;
mod likelihood;
mod perplexity;
mod task;

pub use classification::{Classification, Intervals, classify};
pub use perplexity::{Perplexity, perplexity};
pub use task::{Case, Task, TaskError};

/// How much is computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// Rows of a pass.
    pub batch_size: usize,
    /// Tokens of a row at most.
    pub max_length: usize,
}
