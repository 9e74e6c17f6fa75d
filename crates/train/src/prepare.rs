//! From files to what a [`crate::Trainer`] takes: batches, steps, held-out data.

use std::sync::Arc;

use anylora_data::{
    Batch, BatchOptions, Batches, ChatTemplate, Dataset, EncodeOptions, Encoder, Format, Position, Tokenizer,
};
use jiff::Timestamp;
use jiff::tz::Offset;

use crate::{TrainConfig, TrainError, TrainOn};

/// Rows are padded to a multiple of this many tokens.
const PAD_TO: usize = 8;

/// The text side of a run.
pub struct Text {
    encoder: Arc<Encoder>,
}

impl Text {
    /// A model's tokenizer and chat template with the settings of a run.
    ///
    /// # Errors
    /// [`TrainError::Encode`].
    pub fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        config: &TrainConfig,
    ) -> Result<Self, TrainError> {
        let options = EncodeOptions {
            train_on: match config.train_on {
                TrainOn::Completion => anylora_data::TrainOn::Completion,
                TrainOn::All => anylora_data::TrainOn::All,
            },
            max_length: Some(config.max_length),
        };
        let template = match config.template_time {
            Some(time) => template.map(|template| template.with_now(time)),
            None => template,
        };
        let encoder = Encoder::new(tokenizer, template, options)?;
        Ok(Self {
            encoder: Arc::new(encoder),
        })
    }

    /// Batches of a data set, from a position on.
    ///
    /// # Errors
    /// [`TrainError::Data`].
    pub fn batches(
        &self,
        dataset: Arc<Dataset>,
        config: &TrainConfig,
        position: Position,
    ) -> Result<Batches, TrainError> {
        let options = BatchOptions {
            batch_size: config.batch_size,
            packing: config.packing.then_some(config.max_length),
            shuffle: config.shuffle.then_some(config.seed),
            // Padding is never trained and attended to by nothing that is, so any token will do.
            pad_id: self.encoder.tokenizer().pad_id().unwrap_or(0),
            pad_to_multiple_of: PAD_TO,
        };
        Ok(Batches::new(
            dataset,
            Arc::clone(&self.encoder),
            options,
            position,
        )?)
    }

    /// All batches of a data set, once, in its order.
    ///
    /// # Errors
    /// [`TrainError::Data`].
    pub fn held_out(&self, dataset: Arc<Dataset>, config: &TrainConfig) -> Result<Vec<Batch>, TrainError> {
        let config = TrainConfig {
            shuffle: false,
            ..config.clone()
        };
        let mut batches = self.batches(dataset, &config, Position::default())?;
        let mut all = Vec::new();
        loop {
            let batch = batches.next_batch()?;
            let last = batch.last_of_epoch;
            all.push(batch);
            if last {
                return Ok(all);
            }
        }
    }
}

/// Fixes the time that the run's chat template sees to that of now, where the template asks for it and the settings
/// don't give it. They are written into the run folder, so that a run that goes on later trains on the same text.
pub fn fix_template_time(config: &mut TrainConfig, template: Option<&ChatTemplate>) {
    if template.is_some_and(ChatTemplate::tells_time) {
        let now = || Offset::UTC.to_datetime(Timestamp::now());
        config.template_time.get_or_insert_with(now);
    }
}

/// Steps of a run: as given, or what its epochs make.
///
/// # Errors
/// [`TrainError::Data`].
pub fn total_steps(config: &TrainConfig, batches: &Batches) -> Result<usize, TrainError> {
    match config.steps {
        Some(steps) => Ok(steps),
        None => {
            let an_epoch = batches.count(0)? as f64 / config.grad_accum as f64;
            Ok(((an_epoch * config.epochs).ceil() as usize).max(1))
        }
    }
}

/// Opens a data file.
///
/// # Errors
/// [`TrainError::DataFile`]; [`TrainError::Format`] for an unknown format's name.
pub fn open(path: &std::path::Path, format: Option<&str>) -> Result<Arc<Dataset>, TrainError> {
    let format = format.map(str::parse::<Format>).transpose()?;
    Ok(Arc::new(Dataset::open(path, format)?))
}
