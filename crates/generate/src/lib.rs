//! Text from a model: prefill, KV cache, sampling, streaming.
//!
//! - [`Prompter`]: a checkpoint's tokenizer, chat template and end tokens; makes token ids of a prompt or conversation.
//! - [`Session`]: a model, its adapters and the KV cache; gives the logits that follow some tokens.
//! - [`Sampler`]: picks a token from logits.
//! - [`generate()`]: all of them in a loop, with text in whole characters as it comes.
//! - [`generate_batch`]: the same for several prompts at once, where only the whole texts are wanted.

mod batch;
mod error;
mod generate;
mod prompt;
mod sampler;
mod session;
mod stop;

pub use batch::generate_batch;
pub use error::{GenerateError, Result};
pub use generate::{Event, FinishReason, Generated, GenerationOptions, generate};
pub use prompt::Prompter;
pub use sampler::{Sampler, Sampling};
pub use session::{Memory, Session};
pub use stop::StopStrings;
