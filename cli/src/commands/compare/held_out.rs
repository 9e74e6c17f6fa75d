//! The held-out data of a comparison: what they are evaluated as, and how the model is asked.

use std::path::Path;

use anyhow::Result;
use anylora_data::{EncodeOptions, Encoder};
use anylora_engine::Backend;
use anylora_generate::Prompter;
use anylora_models::Model;
use anylora_nn::Adapters;
use anylora_train::HeldOutTask;
use anylora_train::compare::{Evaluating, Settings};
use anylora_train::evaluation::{Answer, AnswerSettings, Answerer, Form, HeldOut, Question, Results};
use serde_json::{Value, json};

use super::train_error;
use crate::cache;
use crate::commands::answering::{Answering, Encoded};
use crate::commands::train::files::Files;
use crate::error::{Annotate, request};

/// Prompts that are answered at once.
const ROWS: usize = 8;

/// Held-out data that are evaluated beside their loss, or instead of it.
pub struct Evaluated {
    task: HeldOut,
    encoder: Encoder,
    prompter: Prompter,
    prompts: Vec<Encoded>,
    settings: AnswerSettings,
    max_length: usize,
    /// All that decides an answer beside the adapter.
    asked: Value,
}

/// The form of held-out data, and whether their loss is measured; an error where it can't be and something needs it.
pub fn form(path: &Path, settings: &Settings) -> Result<(Form, bool)> {
    let form = Form::of(path).map_err(train_error)?;
    let has_loss = form.has_loss() || settings.task == HeldOutTask::None;
    let config = &settings.settings;
    if !has_loss && (config.eval_every > 0 || config.patience > 0) {
        let found = format!(
            "--eval-every and --patience need a held-out loss, and {} is nothing that training reads",
            path.display()
        );
        return Err(request(found)).hint("leave them out: the scores are measured at the end");
    }
    Ok((form, has_loss))
}

impl Evaluated {
    /// Opens held-out data as what was asked for, or as what they are; None where their loss is all. What can't be asked
    /// shows here.
    pub fn open(path: &Path, form: Form, settings: &Settings, files: &Files) -> Result<Option<Self>> {
        let Settings { task, answers, .. } = settings;
        let prompter = files.prompter.clone();
        let chat = prompter.template().is_some() && !answers.raw;
        let opened = HeldOut::open(path, form, *task, answers, chat).map_err(train_error)?;
        let Some(task) = opened else {
            return Ok(None);
        };
        let options = EncodeOptions {
            max_length: None,
            ..EncodeOptions::default()
        };
        let (tokenizer, template) = (prompter.tokenizer().clone(), prompter.template().cloned());
        let longest = files.checkpoint.config().max_position_embeddings.max(2);
        let mut evaluated = Self {
            encoder: Encoder::new(tokenizer, template, options)?,
            prompter,
            prompts: Vec::new(),
            settings: answers.clone(),
            max_length: settings.settings.max_length.min(longest),
            asked: Value::Null,
            task,
        };
        let questions = evaluated.task.questions();
        if !questions.is_empty() {
            evaluated.prompts = evaluated.answering()?.encode(questions)?;
            evaluated.asked = json!({
                "task": evaluated.task.task().to_string(),
                "data_sha256": cache::digest(path)?,
                "max_length": evaluated.max_length,
                "max_tokens": answers.max_tokens(evaluated.is_qa()),
                "prompt": answers.prompt,
                "raw": answers.raw,
                "stop": answers.stop,
            });
        }
        Ok(Some(evaluated))
    }

    /// The data.
    pub const fn task(&self) -> &HeldOut {
        &self.task
    }

    /// For the runs.
    pub const fn evaluating(&self) -> Evaluating<'_, Self> {
        Evaluating {
            task: &self.task,
            encoder: &self.encoder,
            answerer: self,
            asked: &self.asked,
        }
    }

    const fn is_qa(&self) -> bool {
        matches!(self.task, HeldOut::Qa(_))
    }

    fn answering(&self) -> Result<Answering<'_>> {
        Answering::new(
            &self.prompter,
            &self.settings,
            self.is_qa(),
            self.max_length,
            ROWS,
        )
    }
}

impl Answerer for Evaluated {
    type Error = anyhow::Error;

    async fn answer<B: Backend>(
        &self,
        model: &Model<B>,
        adapters: Option<&Adapters<B>>,
        questions: &[Question],
        results: &mut Results<Answer>,
        each: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let unjudged = |_: &Question, _: &str| Ok(None);
        self.answering()?
            .run(
                (model, adapters),
                questions,
                &self.prompts,
                results,
                unjudged,
                each,
            )
            .await
    }
}
