//! Texts that the model generates, batch by batch, shortest prompts first.

use anyhow::Result;
use anylora_engine::Backend;
use anylora_generate::{GenerationOptions, Prompter, generate_batch};
use anylora_models::Model;
use anylora_nn::Adapters;
use anylora_train::evaluation::{Question, Rendered, Results};
use pollster::block_on;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::progress::Progress;
use super::train_error;
use crate::error::request;
use crate::model::generate_error;

/// A generated text: a line of `--out`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The question's.
    pub id: String,
    /// The text.
    pub answer: String,
    /// Whether the prompt was shortened.
    pub truncated: bool,
    /// Whether it passed the check, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
}

/// How answers are made.
pub struct Answering<'a> {
    pub prompter: &'a Prompter,
    pub options: GenerationOptions,
    /// Tokens of a prompt at most.
    pub prompt_limit: usize,
    pub batch_size: usize,
    pub check: Option<&'a Check>,
}

/// A question's prompt.
pub struct Encoded {
    example: usize,
    ids: Vec<u32>,
    truncated: bool,
}

impl Answering<'_> {
    /// The prompts of all questions, shortest first. What can't be asked shows here, before a model is loaded.
    pub fn encode(&self, questions: &[Question]) -> Result<Vec<Encoded>> {
        let mut prompts = Vec::new();
        for (example, question) in questions.iter().enumerate() {
            let encode = |rendered: Rendered<'_>| match rendered {
                Rendered::Text(text) => self.prompter.raw(text),
                Rendered::Chat(messages) => self.prompter.chat(messages),
            };
            let (ids, truncated) = question
                .prompt
                .encode(self.prompt_limit, encode)
                .map_err(generate_error)?;
            if ids.len() > self.prompt_limit {
                return Err(request(format!(
                    "question {:?}: the prompt takes {} tokens and there is room for {}; a larger --max-length or \
                     fewer --max-tokens make more",
                    question.id,
                    ids.len(),
                    self.prompt_limit
                )));
            }
            prompts.push(Encoded {
                example,
                ids,
                truncated,
            });
        }
        prompts.sort_by_key(|prompt| prompt.ids.len());
        Ok(prompts)
    }

    /// Answers the questions that have no answer yet, in the order of their prompts.
    pub fn run<B: Backend>(
        &self,
        model: &Model<B>,
        adapters: Option<&Adapters<B>>,
        questions: &[Question],
        mut prompts: Vec<Encoded>,
        results: &mut Results<Answer>,
        progress: &mut Progress,
    ) -> Result<()> {
        prompts.retain(|prompt| results.get(prompt.example).is_none());
        for batch in prompts.chunks(self.batch_size) {
            let prompts: Vec<Vec<u32>> = batch.iter().map(|prompt| prompt.ids.clone()).collect();
            let generated = generate_batch(model, adapters, self.prompter, &prompts, &self.options);
            let generated = block_on(generated).map_err(generate_error)?;
            for (
                Encoded {
                    example, truncated, ..
                },
                generated,
            ) in batch.iter().zip(generated)
            {
                let question = &questions[*example];
                let passed = self
                    .check
                    .map(|check| check.passes(&generated.text, &question.record))
                    .transpose()?;
                let answer = Answer {
                    id: question.id.clone(),
                    answer: generated.text,
                    truncated: *truncated,
                    passed,
                };
                results.add(*example, answer).map_err(train_error)?;
            }
            progress.set(results.len());
        }
        Ok(())
    }
}
