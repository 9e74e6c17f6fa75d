//! What a run reads: model, data, an adapter to start from.

use std::sync::Arc;

use anyhow::Result;
use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::{Batch, Dataset};
use anylora_generate::Prompter;
use anylora_train::prepare::{self, Text};
use anylora_train::{TrainConfig, adapter_file};

use super::train_error;
use crate::error::{Annotate, request};
use crate::model::{self, checkpoint_error, generate_error};

/// The files of a run, open.
pub struct Files {
    pub checkpoint: Checkpoint,
    pub prompter: Prompter,
    pub text: Text,
    pub data: Arc<Dataset>,
    pub held_out: Vec<Batch>,
    pub adapter: Option<Adapter>,
}

/// Says what is missing, before anything is read.
pub fn expect_model_and_data(config: &TrainConfig) -> Result<()> {
    if config.model.is_none() {
        return Err(request("no model was given"))
            .hint("--model FOLDER, FILE.gguf or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct");
    }
    if config.data.is_none() {
        return Err(request("no data was given"))
            .hint("--data FILE.jsonl; `anylora check-data FILE` shows what would be trained");
    }
    Ok(())
}

impl Files {
    /// Opens all that the settings name. An adapter to start from decides rank, scaling and layers.
    pub fn open(config: &mut TrainConfig) -> Result<Self> {
        expect_model_and_data(config)?;
        let format = config.format.clone();
        let open = |path: &std::path::Path| prepare::open(path, format.as_deref()).map_err(train_error);
        let data = open(config.data.as_deref().unwrap_or_else(|| "".as_ref()))?;
        let checkpoint = model::open(config.model.as_deref().unwrap_or_default())?;
        let adapter = match &config.adapter_init {
            Some(path) => {
                let adapter = Adapter::open(path).map_err(checkpoint_error)?;
                adapter_file::adopt(config, &adapter).map_err(train_error)?;
                Some(adapter)
            }
            None => None,
        };
        let prompter = Prompter::new(&checkpoint).map_err(generate_error)?;
        let (tokenizer, template) = (prompter.tokenizer().clone(), prompter.template().cloned());
        prepare::fix_template_time(config, template.as_ref());
        let text = Text::new(tokenizer, template, config).map_err(train_error)?;
        let held_out = match &config.eval_data {
            Some(path) => text.held_out(open(path)?, config).map_err(train_error)?,
            None => Vec::new(),
        };
        Ok(Self {
            checkpoint,
            prompter,
            text,
            data,
            held_out,
            adapter,
        })
    }
}
