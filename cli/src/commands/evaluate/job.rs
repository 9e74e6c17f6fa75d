//! An evaluation on a device.

use std::sync::Arc;

use anyhow::Result;
use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::{Dataset, Encoder};
use anylora_engine::Backend;
use anylora_generate::Prompter;
use anylora_models::Model;
use anylora_nn::Adapters;
use anylora_train::evaluation::{
    self, Answer, Classification, EvalOptions, GenerationScores, Perplexity, QaScores, QaTask, Question,
    Results, Task,
};
use anylora_train::metrics::Stemming;
use pollster::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::check::Check;
use super::progress::Progress;
use super::{Evaluate, train_error};
use crate::cache;
use crate::commands::answering::Encoded;
use crate::engine::Job;
use crate::model::{self, load_adapter};

/// What is evaluated on.
pub enum Data {
    Texts(Arc<Dataset>),
    Task(Task),
    Qa(QaTask),
    Questions(Vec<Question>),
}

impl Data {
    /// What is asked, where the model answers in texts.
    pub fn questions(&self) -> Option<&[Question]> {
        match self {
            Self::Texts(_) | Self::Task(_) => None,
            Self::Qa(task) => Some(&task.questions),
            Self::Questions(questions) => Some(questions),
        }
    }
}

/// What came out.
pub enum Found {
    Perplexity(Perplexity),
    Classification(Classification),
    Qa(QaScores),
    Generation(GenerationScores),
}

/// An evaluation with its files open.
pub struct Opened<'a> {
    pub command: &'a Evaluate,
    pub data: Data,
    pub checkpoint: Checkpoint,
    pub adapter: Option<Adapter>,
    pub encoder: Encoder,
    pub prompter: Prompter,
    pub check: Option<Check>,
    /// Of the questions, where the model answers in texts.
    pub prompts: Vec<Encoded>,
    pub options: EvalOptions,
}

impl Job for Opened<'_> {
    type Output = Found;

    fn run<B: Backend>(self, backend: B) -> Result<Found> {
        let seed = self.command.seed;
        match &self.data {
            Data::Texts(dataset) => {
                let mut results = self.results()?;
                let (model, adapters) = self.load(&backend)?;
                let mut progress = Progress::new(dataset.len(), results.len())?;
                block_on(evaluation::example_losses(
                    &model,
                    adapters.as_ref(),
                    &self.encoder,
                    dataset,
                    self.options,
                    &mut results,
                    |done| progress.set(done),
                ))
                .map_err(train_error)?;
                let found = evaluation::summarize_losses(&results, seed).map_err(train_error)?;
                Ok(Found::Perplexity(found))
            }
            Data::Task(task) => {
                let mut results = self.results()?;
                let (model, adapters) = self.load(&backend)?;
                let mut progress = Progress::new(task.cases.len(), results.len())?;
                block_on(evaluation::case_scores(
                    &model,
                    adapters.as_ref(),
                    &self.encoder,
                    task,
                    self.options,
                    &mut results,
                    |done| progress.set(done),
                ))
                .map_err(train_error)?;
                let found = evaluation::summarize_cases(task, &results, seed);
                Ok(Found::Classification(found))
            }
            Data::Qa(task) => {
                let (texts, truncated) = self.answers(&backend, &task.questions)?;
                let texts: Vec<&str> = texts.iter().map(|text| text.answer.as_str()).collect();
                Ok(Found::Qa(evaluation::score_qa(task, &texts, truncated, seed)))
            }
            Data::Questions(questions) => {
                let (answers, truncated) = self.answers(&backend, questions)?;
                let texts: Vec<&str> = answers.iter().map(|text| text.answer.as_str()).collect();
                let passed: Option<Vec<bool>> = answers.iter().map(|answer| answer.passed).collect();
                let passed = passed.filter(|_| self.check.is_some());
                let stemming = match self.command.answers.stemmer {
                    true => Stemming::Porter,
                    false => Stemming::Off,
                };
                Ok(Found::Generation(evaluation::score_generation(
                    questions,
                    &texts,
                    passed.as_deref(),
                    truncated,
                    stemming,
                    seed,
                )))
            }
        }
    }
}

impl Opened<'_> {
    fn load<B: Backend>(&self, backend: &B) -> Result<(Model<B>, Option<Adapters<B>>)> {
        let model = model::load(backend, &self.checkpoint, &self.command.model)?;
        let adapters = load_adapter(&model, self.adapter.as_ref())?;
        Ok((model, adapters))
    }

    /// One answer a question, and how many prompts were shortened.
    fn answers<B: Backend>(&self, backend: &B, questions: &[Question]) -> Result<(Vec<Answer>, usize)> {
        let answering = self.command.answering(&self.prompter, self.options)?;
        let mut results = self.results()?;
        let (model, adapters) = self.load(backend)?;
        let mut progress = Progress::new(questions.len(), results.len())?;
        let judge = |question: &Question, text: &str| {
            let check = self.check.as_ref();
            check
                .map(|check| check.passes(text, &question.record))
                .transpose()
        };
        block_on(answering.run(
            (&model, adapters.as_ref()),
            questions,
            &self.prompts,
            &mut results,
            judge,
            &mut |done| progress.set(done),
        ))?;
        let answers: Vec<Answer> = results.iter().map(|(_, answer)| answer.clone()).collect();
        let truncated = answers.iter().filter(|answer| answer.truncated).count();
        Ok((answers, truncated))
    }

    /// What `--out` holds, or nothing.
    fn results<T: Serialize + DeserializeOwned>(&self) -> Result<Results<T>> {
        let Some(path) = &self.command.out else {
            return Ok(Results::default());
        };
        let settings = self.settings()?;
        let results = match self.command.resume {
            true => Results::resume(path, &settings),
            false => Results::create(path, &settings),
        };
        results.map_err(train_error)
    }

    /// All that decides what an example gives.
    fn settings(&self) -> Result<Value> {
        let Evaluate {
            model,
            data,
            task,
            format,
            train_on,
            labels,
            answers,
            check_command,
            ..
        } = self.command;
        let mut settings = json!({
            "task": format!("{task:?}").to_lowercase(),
            "model": model.model,
            "quant": format!("{:?}", model.quant).to_lowercase(),
            "adapter": model.adapter,
            "data_sha256": cache::digest(data)?,
            "max_length": self.options.max_length,
        });
        let more = match &self.data {
            Data::Texts(_) => json!({
                "format": format,
                "train_on": format!("{train_on:?}").to_lowercase(),
            }),
            Data::Task(_) => json!({ "labels": labels }),
            Data::Qa(_) | Data::Questions(_) => json!({
                "max_tokens": answers.max_tokens(self.command.is_qa()),
                "prompt": answers.prompt,
                "raw": answers.raw,
                "stop": answers.stop,
                "check_command": check_command,
            }),
        };
        if let (Value::Object(settings), Value::Object(more)) = (&mut settings, more) {
            settings.extend(more);
        }
        Ok(settings)
    }
}
