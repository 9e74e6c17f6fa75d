//! `anylora evaluate`: what a model is worth on held-out data.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::{Dataset, EncodeOptions, Encoder, TrainOn};
use anylora_engine::Backend;
use anylora_engine_wgpu::OpenOptions;
use anylora_generate::Prompter;
use anylora_train::evaluation::{self, Classification, EvalOptions, Perplexity, Task};
use anylora_train::prepare;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use pollster::block_on;

use super::train::train_error;
use crate::engine::{DeviceArgs, Job, with_device};
use crate::error::request;
use crate::model::{self, generate_error, load_adapter, style};
use crate::output;

/// Measure a model, with or without an adapter, on data that it was not trained on.
///
/// perplexity: exp of the mean negative log-likelihood of a token. Of texts (and of `input_ids` without labels) every
/// token but the first counts, and the end-of-text token that training adds; of prompts and conversations what
/// `anylora train` would train, unless --train-on all: the same loss as that of --eval-data. Longer examples than --max-length are read in windows.
///
/// classification: the class is the label word that is likeliest after the prompt. Data are records with `prompt` and
/// `completion` (the label word; `label` gives the order of classes), or GLUE's own TSV files of SST-2 and MNLI.
/// Printed are accuracy and macro F1 with 95 % bootstrap intervals, and the confusion matrix.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora evaluate --model model.gguf --data book.txt --task perplexity\n  \
    anylora evaluate --model HuggingFaceTB/SmolLM2-135M-Instruct --adapter runs/first/adapter \\\n    \
    --data examples/movie_snippets_test.jsonl --task classification --json\n  \
    anylora evaluate --model model.gguf --data SST-2/dev.tsv --task classification --labels ' bad, good'")]
pub struct Evaluate {
    #[command(flatten)]
    model: model::ModelArgs,
    /// Held-out data: a JSONL, JSON, CSV, TSV or text file
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// What is measured
    #[arg(long, value_enum, default_value = "perplexity")]
    task: Kind,
    /// The data's format, where its content doesn't tell (perplexity)
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// What counts for perplexity
    #[arg(long, value_enum, default_value = "completion", value_name = "WHAT")]
    train_on: On,
    /// The label words of the classes with the space before them, in the order of the classes (classification)
    #[arg(long, value_name = "WORD,WORD", value_delimiter = ',')]
    labels: Option<Vec<String>>,
    /// Rows that are computed at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch_size: u32,
    /// Tokens of a row at most [default: 1024, or what the model was made for where that is less]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_048_576))]
    max_length: Option<u32>,
    /// The seed of the bootstrap intervals
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// How well the next token is predicted
    Perplexity,
    /// How often the right label word is the likeliest
    Classification,
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// Completions, texts and what the assistant says
    Completion,
    /// Every token
    All,
}

impl Evaluate {
    /// Opens model and data, so that what is wrong with them shows before a device is opened; evaluates; prints.
    pub fn run(self) -> Result<()> {
        let data = self.open()?;
        let checkpoint = self.model.open()?;
        let adapter = self.model.open_adapter()?;
        let prompter = Prompter::new(&checkpoint).map_err(generate_error)?;
        let options = EncodeOptions {
            train_on: match self.train_on {
                On::Completion => TrainOn::Completion,
                On::All => TrainOn::All,
            },
            // Nothing is cut off here: longer examples are read in windows.
            max_length: None,
        };
        let template = prompter.template().cloned();
        let encoder = Encoder::new(prompter.tokenizer().clone(), template, options)?;
        let longest = checkpoint.config().max_position_embeddings.max(2);
        let max_length = self
            .max_length
            .map_or(longest.min(1024), |length| length as usize);
        if max_length > longest {
            return Err(request(format!(
                "--max-length {max_length}: the model was made for at most {longest} tokens"
            )));
        }
        let opened = Opened {
            command: &self,
            data,
            checkpoint,
            adapter,
            encoder,
            options: EvalOptions {
                batch_size: self.batch_size as usize,
                max_length,
            },
        };
        match with_device(self.device.device, OpenOptions::default(), opened)? {
            Found::Perplexity(found) if self.json => output::print_json(&found),
            Found::Classification(found) if self.json => output::print_json(&found),
            Found::Perplexity(found) => output::print(&format!(
                "perplexity {:.4} (mean negative log-likelihood {:.4} over {} tokens)\n",
                found.perplexity, found.nll, found.tokens
            )),
            Found::Classification(found) => output::print(&text(&found)),
        }
    }

    fn open(&self) -> Result<Data> {
        Ok(match self.task {
            Kind::Perplexity => {
                let dataset = prepare::open(&self.data, self.format.as_deref()).map_err(train_error)?;
                Data::Texts(dataset)
            }
            Kind::Classification => {
                let words = self.labels.as_deref();
                Data::Task(Task::open(&self.data, words).map_err(train_error)?)
            }
        })
    }
}

/// What is evaluated on.
enum Data {
    Texts(std::sync::Arc<Dataset>),
    Task(Task),
}

/// What came out.
enum Found {
    Perplexity(Perplexity),
    Classification(Classification),
}

/// An evaluation with its files open.
struct Opened<'a> {
    command: &'a Evaluate,
    data: Data,
    checkpoint: Checkpoint,
    adapter: Option<Adapter>,
    encoder: Encoder,
    options: EvalOptions,
}

impl Job for Opened<'_> {
    type Output = Found;

    fn run<B: Backend>(self, backend: B) -> Result<Found> {
        let model = model::load(&backend, &self.checkpoint, &self.command.model)?;
        let adapters = load_adapter(&model, self.adapter.as_ref())?;
        let bar = ProgressBar::new(match &self.data {
            Data::Texts(dataset) => dataset.len(),
            Data::Task(task) => task.cases.len(),
        } as u64)
        .with_style(style("evaluating {wide_bar} {pos}/{len} {eta}")?);
        let each = |done| bar.set_position(done as u64);
        let found = match &self.data {
            Data::Texts(dataset) => block_on(evaluation::perplexity(
                &model,
                adapters.as_ref(),
                &self.encoder,
                dataset,
                self.options,
                each,
            ))
            .map(Found::Perplexity),
            Data::Task(task) => block_on(evaluation::classify(
                &model,
                adapters.as_ref(),
                &self.encoder,
                task,
                self.options,
                self.command.seed,
                each,
            ))
            .map(Found::Classification),
        };
        bar.finish_and_clear();
        found.map_err(train_error)
    }
}

/// A classification for people.
fn text(found: &Classification) -> String {
    let [accuracy_low, accuracy_high] = found.intervals.accuracy;
    let [f1_low, f1_high] = found.intervals.macro_f1;
    let level = 100.0 * found.intervals.level;
    let mut text = format!(
        "{} examples\naccuracy {:.4} ({level:.0} % interval {accuracy_low:.4} to {accuracy_high:.4})\n\
         macro F1 {:.4} ({level:.0} % interval {f1_low:.4} to {f1_high:.4})\n",
        found.examples, found.accuracy, found.macro_f1
    );
    if found.truncated > 0 {
        // Writing to a String can't fail; so below.
        let _ = writeln!(
            text,
            "{} examples lost their beginning to --max-length",
            found.truncated
        );
    }
    let words: Vec<&str> = found.labels.iter().map(|word| word.trim()).collect();
    let width = words
        .iter()
        .map(|word| word.chars().count())
        .max()
        .unwrap_or(0)
        .max(6)
        + 2;
    let _ = write!(text, "\nrows true, columns predicted\n{:width$}", "");
    for word in &words {
        let _ = write!(text, "{word:>width$}");
    }
    text.push('\n');
    for (word, row) in words.iter().zip(&found.confusion) {
        let _ = write!(text, "{word:width$}");
        for count in row {
            let _ = write!(text, "{count:>width$}");
        }
        text.push('\n');
    }
    text
}
