//! Texts that the model generates for `evaluate` and `compare`, batch by batch, shortest prompts first.

use anyhow::Result;
use anylora_engine::Backend;
use anylora_generate::{GenerationOptions, Prompter, generate_batch};
use anylora_models::Model;
use anylora_nn::Adapters;
use anylora_train::evaluation::{Answer, AnswerSettings, Question, Rendered, Results};

use super::train::train_error;
use crate::error::request;
use crate::model::generate_error;

/// How answers are made.
pub struct Answering<'a> {
    prompter: &'a Prompter,
    options: GenerationOptions,
    /// Tokens of a prompt at most.
    prompt_limit: usize,
    batch_size: usize,
}

/// A question's prompt.
pub struct Encoded {
    example: usize,
    ids: Vec<u32>,
    truncated: bool,
}

impl<'a> Answering<'a> {
    /// Answers as the settings want them, in rows of `max_length` tokens, prompt and answer; `batch_size` at once.
    pub fn new(
        prompter: &'a Prompter,
        settings: &AnswerSettings,
        is_qa: bool,
        max_length: usize,
        batch_size: usize,
    ) -> Result<Self> {
        let max_tokens = settings.max_tokens(is_qa);
        if max_tokens >= max_length {
            return Err(request(format!(
                "--max-tokens {max_tokens}: expected fewer than --max-length {max_length}, which the prompt is part of"
            )));
        }
        Ok(Self {
            prompter,
            options: GenerationOptions {
                max_tokens,
                stop: settings.stop.clone(),
                ..GenerationOptions::default()
            },
            prompt_limit: max_length - max_tokens,
            batch_size,
        })
    }

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

    /// Answers the questions that have no answer yet, in the order of their prompts. `judge` says whether an answer
    /// passes, where something judges it; `each(n)` hears that `n` answers are there.
    pub async fn run<B: Backend>(
        &self,
        (model, adapters): (&Model<B>, Option<&Adapters<B>>),
        questions: &[Question],
        prompts: &[Encoded],
        results: &mut Results<Answer>,
        judge: impl Fn(&Question, &str) -> Result<Option<bool>>,
        each: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let open: Vec<&Encoded> = prompts
            .iter()
            .filter(|prompt| results.get(prompt.example).is_none())
            .collect();
        for batch in open.chunks(self.batch_size) {
            let prompts: Vec<Vec<u32>> = batch.iter().map(|prompt| prompt.ids.clone()).collect();
            let generated = generate_batch(model, adapters, self.prompter, &prompts, &self.options).await;
            for (prompt, generated) in batch.iter().zip(generated.map_err(generate_error)?) {
                let question = &questions[prompt.example];
                let answer = Answer {
                    id: question.id.clone(),
                    passed: judge(question, &generated.text)?,
                    answer: generated.text,
                    truncated: prompt.truncated,
                };
                results.add(prompt.example, answer).map_err(train_error)?;
            }
            each(results.len());
        }
        Ok(())
    }
}
