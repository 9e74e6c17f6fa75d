//! What one record says, before it becomes tokens.

use crate::template::Message;

/// One training example.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// A conversation; what the assistant says is trained.
    Conversation {
        /// The messages in order.
        messages: Vec<Message>,
        /// Assistant messages before this one are context only.
        trained_from: usize,
    },
    /// An instruction in Alpaca's form, which becomes a conversation where the model has a chat template.
    Instruction {
        /// The system prompt, where the record has one.
        system: Option<String>,
        /// What to do.
        instruction: String,
        /// What to do it with; may be empty.
        input: String,
        /// The answer, which is trained.
        output: String,
    },
    /// A text whose second part is trained.
    Completion {
        /// The given part.
        prompt: String,
        /// The trained part.
        completion: String,
    },
    /// A text that is trained from its first token to its last.
    Text(String),
    /// Token ids, taken as they are.
    Tokens {
        /// Token ids.
        input_ids: Vec<u32>,
        /// One a token, -100 where it is not trained; `None` trains all.
        labels: Option<Vec<i32>>,
    },
}
