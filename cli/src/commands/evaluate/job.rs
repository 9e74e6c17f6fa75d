//! An evaluation on a device.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::{Dataset, Encoder};
use anylora_engine::Backend;
use anylora_generate::{GenerationOptions, Prompter};
use anylora_models::Model;
use anylora_nn::Adapters;
use anylora_train::evaluation::{
    self, Classification, EvalOptions, GenerationScores, Perplexity, QaScores, QaTask, Question, Results,
    Task,
};
use anylora_train::metrics::Stemming;
use pollster::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answers::{Answer, Answering};
use super::check::Check;
use super::progress::Progress;
use super::{Evaluate, train_error};
use crate::cache::hex;
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
    /// Whether the model answers in texts.
    pub const fn is_generated(&self) -> bool {
        matches!(self, Self::Qa(_) | Self::Questions(_))
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
                let stemming = match self.command.stemmer {
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
        let max_tokens = self.command.max_tokens();
        let answering = Answering {
            prompter: &self.prompter,
            options: GenerationOptions {
                max_tokens,
                stop: self.command.stop.clone(),
                ..GenerationOptions::default()
            },
            prompt_limit: self.options.max_length - max_tokens,
            batch_size: self.options.batch_size,
            check: self.check.as_ref(),
        };
        let prompts = answering.encode(questions)?;
        let mut results = self.results()?;
        let (model, adapters) = self.load(backend)?;
        let mut progress = Progress::new(questions.len(), results.len())?;
        let adapters = adapters.as_ref();
        answering.run(&model, adapters, questions, prompts, &mut results, &mut progress)?;
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
            prompt,
            raw,
            stop,
            check_command,
            ..
        } = self.command;
        let mut settings = json!({
            "task": format!("{task:?}").to_lowercase(),
            "model": model.model,
            "quant": format!("{:?}", model.quant).to_lowercase(),
            "adapter": model.adapter,
            "data_sha256": digest(data)?,
            "max_length": self.options.max_length,
        });
        let more = match &self.data {
            Data::Texts(_) => json!({
                "format": format,
                "train_on": format!("{train_on:?}").to_lowercase(),
            }),
            Data::Task(_) => json!({ "labels": labels }),
            Data::Qa(_) | Data::Questions(_) => json!({
                "max_tokens": self.command.max_tokens(),
                "prompt": prompt,
                "raw": raw,
                "stop": stop,
                "check_command": check_command,
            }),
        };
        if let (Value::Object(settings), Value::Object(more)) = (&mut settings, more) {
            settings.extend(more);
        }
        Ok(settings)
    }
}

fn digest(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut read = || {
        let mut file = std::fs::File::open(path)?;
        let mut part = vec![0; 1 << 16];
        loop {
            match file.read(&mut part)? {
                0 => return Ok::<_, std::io::Error>(()),
                count => hash.update(&part[..count]),
            }
        }
    };
    read().with_context(|| format!("{} could not be read", path.display()))?;
    Ok(hex(&hash.finalize()))
}
