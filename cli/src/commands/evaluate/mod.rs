//! `anylora evaluate`: what a model is worth on held-out data.

mod check;
mod job;
mod progress;
mod text;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use anylora_data::{EncodeOptions, Encoder, TrainOn};
use anylora_engine_wgpu::OpenOptions;
use anylora_generate::Prompter;
use anylora_train::evaluation::{AnswerSettings, Asking, EvalOptions, QaTask, Task, questions};
use anylora_train::prepare;
use clap::{Args, ValueEnum};

use super::answering::Answering;
use super::train::train_error;
use crate::engine::{DeviceArgs, with_device};
use crate::error::{Annotate, request};
use crate::model::{self, generate_error};
use crate::output;
use check::Check;
use job::{Data, Found, Opened};

/// Measure a model, with or without an adapter, on data that it was not trained on.
///
/// perplexity: exp of the mean negative log-likelihood of a token. Of texts (and of `input_ids` without labels) every
/// token but the first counts, and the end-of-text token that training adds; of prompts and conversations what
/// `anylora train` would train, unless --train-on all: the same loss as that of --eval-data. Longer examples than --max-length are read in windows.
///
/// classification: the class is the label word that is likeliest after the prompt. Data are records with `prompt` and
/// `completion` (the label word; `label` gives the order of classes), or GLUE's own TSV files of SST-2 and MNLI.
/// Printed are accuracy, macro F1 and the confusion matrix.
///
/// qa: the model answers the questions of a SQuAD file (JSON, version 1.1 or 2.0) from their passages. Printed are
/// exact match and F1 as SQuAD's scripts count them, from 0 to 1.
///
/// summarization, generation: the model continues prompts; its texts are compared with references. Data are records
/// with a document and its summary (`document`, `article`, `dialogue` or `text`; `summary` or `highlights`), or the
/// formats of training. Printed are ROUGE-1, -2 and -L as rouge-score counts them (F-measure), exact match, and with
/// --check-command the share of answers that pass it.
///
/// Every metric comes with a 95 % bootstrap interval over examples. With --out what is found is kept by example, and
/// a killed evaluation goes on with --resume.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora evaluate --model model.gguf --data book.txt --task perplexity\n  \
    anylora evaluate --model HuggingFaceTB/SmolLM2-135M-Instruct --adapter runs/first/adapter \\\n    \
    --data examples/movie_snippets_test.jsonl --task classification --json\n  \
    anylora evaluate --model model.gguf --data SST-2/dev.tsv --task classification --labels ' bad, good'\n  \
    anylora evaluate --model model.gguf --data dev-v2.0.json --task qa --out answers.jsonl\n  \
    anylora evaluate --model model.gguf --data samsum.jsonl --task summarization --stemmer\n  \
    anylora evaluate --model model.gguf --data code.jsonl --task generation \\\n    \
    --check-command 'python3 check.py {answer} {record}'")]
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
    #[command(flatten)]
    answers: AnswerSettings,
    /// A command that judges each answer: it passes by ending with 0. `{answer}` becomes a file with the text (the
    /// last argument, where it isn't there), `{record}` one with the record as JSON. No shell runs it
    #[arg(long, value_name = "COMMAND")]
    check_command: Option<String>,
    /// Seconds that the check may take; longer ones don't pass
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    check_timeout: f64,
    /// Keep what is found here, a line of JSON an example
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on with what --out holds
    #[arg(long, requires = "out")]
    resume: bool,
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
    /// How well questions about a passage are answered
    Qa,
    /// How near summaries come to the reference
    Summarization,
    /// How near any texts come to the reference, or how many pass a check
    Generation,
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
        let check = self.check()?;
        let checkpoint = self.model.open()?;
        let prompter = Prompter::new(&checkpoint).map_err(generate_error)?;
        let data = self.open(prompter.template().is_some() && !self.answers.raw)?;
        let adapter = self.model.open_adapter()?;
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
        let options = EvalOptions {
            batch_size: self.batch_size as usize,
            max_length,
        };
        let prompts = match data.questions() {
            Some(questions) => self.answering(&prompter, options)?.encode(questions)?,
            None => Vec::new(),
        };
        let opened = Opened {
            command: &self,
            data,
            checkpoint,
            adapter,
            encoder,
            prompter,
            check,
            prompts,
            options,
        };
        match with_device(self.device.device, OpenOptions::default(), opened)? {
            Found::Perplexity(found) if self.json => output::print_json(&found),
            Found::Classification(found) if self.json => output::print_json(&found),
            Found::Qa(found) if self.json => output::print_json(&found),
            Found::Generation(found) if self.json => output::print_json(&found),
            Found::Perplexity(found) => output::print(&text::perplexity(&found)),
            Found::Classification(found) => output::print(&text::classification(&found)),
            Found::Qa(found) => output::print(&text::qa(&found)),
            Found::Generation(found) => output::print(&text::generation(&found)),
        }
    }

    fn is_qa(&self) -> bool {
        self.task == Kind::Qa
    }

    fn answering<'a>(&self, prompter: &'a Prompter, options: EvalOptions) -> Result<Answering<'a>> {
        let EvalOptions {
            batch_size,
            max_length,
        } = options;
        Answering::new(prompter, &self.answers, self.is_qa(), max_length, batch_size)
    }

    fn check(&self) -> Result<Option<Check>> {
        let Some(command) = &self.check_command else {
            return Ok(None);
        };
        if !matches!(self.task, Kind::Summarization | Kind::Generation) {
            return Err(request("--check-command judges generated texts"))
                .hint("--task generation --check-command COMMAND");
        }
        let timeout = Duration::try_from_secs_f64(self.check_timeout)
            .ok()
            .filter(|timeout| !timeout.is_zero())
            .ok_or_else(|| {
                request(format!(
                    "--check-timeout: expected seconds above 0, found {}",
                    self.check_timeout
                ))
            })?;
        let check = Check::parse(command, timeout)?;
        check.stop_on_ctrl_c()?;
        Ok(Some(check))
    }

    fn open(&self, chat: bool) -> Result<Data> {
        let template = self.answers.prompt.as_deref();
        Ok(match self.task {
            Kind::Perplexity => {
                let dataset = prepare::open(&self.data, self.format.as_deref()).map_err(train_error)?;
                Data::Texts(dataset)
            }
            Kind::Classification => {
                let words = self.labels.as_deref();
                Data::Task(Task::open(&self.data, words).map_err(train_error)?)
            }
            Kind::Qa => Data::Qa(QaTask::open(&self.data, chat, template).map_err(train_error)?),
            Kind::Summarization | Kind::Generation => {
                let asking = Asking {
                    chat,
                    template,
                    unreferenced: self.check_command.is_some(),
                };
                Data::Questions(questions(&self.data, asking).map_err(train_error)?)
            }
        })
    }
}
