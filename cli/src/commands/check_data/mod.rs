//! `anylora check-data`: what a data file would train.

mod text;

use std::path::PathBuf;

use anyhow::Result;
use anylora_data::{
    DataError, Dataset, EncodeOptions, Encoder, Format, Piece, Problem, Report, TrainOn, UnknownFormatName,
};
use anylora_generate::Prompter;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::{error, model, output};

/// Show what a data file would train, and what is wrong with it.
///
/// Every record is turned into tokens as `anylora train` does. Printed are counts, a histogram of lengths, what was
/// found (records that can't be used, that have nothing to train, that are cut off or repeated, that don't teach
/// the model to stop), and the first examples, trained tokens apart from masked ones.
///
/// The exit code is 1 where training would be wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Files: .jsonl, .json (an array), .csv and .tsv (the first row names the columns), .txt (paragraphs).\n\
    Formats: messages, sharegpt (conversations), alpaca (instruction, input, output), prompt-completion, text,\n\
    tokens (input_ids, labels).\n\n\
    Examples:\n  \
    anylora check-data examples/movie_snippets_train.jsonl --model model.gguf\n  \
    anylora check-data chats.json --model models/Qwen2.5-0.5B-Instruct --max-length 512 --show 1"
)]
pub struct CheckData {
    /// The data file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model that would be trained: a folder, a .gguf file or a hub id
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// The records' format, if their keys don't tell
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatName>,
    /// Tokens after which an example is cut off
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_length: usize,
    /// What the loss is on
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    train_on: On,
    /// How many examples to show
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// A format by its name.
#[derive(Clone, Copy, Debug)]
struct FormatName(Format);

impl std::str::FromStr for FormatName {
    type Err = UnknownFormatName;

    fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
        name.parse().map(Self)
    }
}

/// What the loss is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum On {
    /// Completions and what the assistant says
    #[default]
    Completion,
    /// Every token
    All,
}

/// An example as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    line: u64,
    truncated: usize,
    pieces: Vec<Piece>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    report: &'a Report,
    ok: bool,
    examples: &'a [Shown],
}

impl CheckData {
    /// Checks, and shows.
    pub fn run(self) -> Result<()> {
        let encoder = self.encoder()?;
        let dataset = Dataset::open(&self.file, self.format.map(|name| name.0)).map_err(data_error)?;
        let bar = ProgressBar::new(dataset.len() as u64)
            .with_style(model::style("{wide_bar} {pos}/{len} records")?);
        let report = anylora_data::check(&dataset, &encoder, |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        let examples = shown(&dataset, &encoder, self.show);
        if self.json {
            let ok = !report.is_error();
            output::print_json(&Output {
                report: &report,
                ok,
                examples: &examples,
            })?;
        } else {
            output::print(&text::report(&report, self.max_length))?;
            output::print(&text::examples(&examples))?;
        }
        if report.is_error() {
            anyhow::bail!("training on {} would be wrong", self.file.display());
        }
        Ok(())
    }

    fn encoder(&self) -> Result<Encoder> {
        let checkpoint = model::open(&self.model)?;
        let prompter = Prompter::new(&checkpoint).map_err(model::generate_error)?;
        let train_on = match self.train_on {
            On::Completion => TrainOn::Completion,
            On::All => TrainOn::All,
        };
        let options = EncodeOptions {
            train_on,
            max_length: Some(self.max_length),
        };
        Ok(Encoder::new(
            prompter.tokenizer().clone(),
            prompter.template().cloned(),
            options,
        )?)
    }
}

/// A file that can't be opened is a wrong request; one that can't be trained on is what this command looks for.
fn data_error(error: DataError) -> anyhow::Error {
    let request = matches!(error.problem, Problem::Read(_));
    let hint = error.hint();
    error::note(error.into(), request, hint)
}

/// The first examples that can be encoded.
fn shown(dataset: &Dataset, encoder: &Encoder, count: usize) -> Vec<Shown> {
    let example = |record| {
        let encoded = encoder.encode(&dataset.example(record).ok()?).ok()?;
        let pieces = anylora_data::pieces(encoder, &encoded).ok()?;
        Some(Shown {
            line: dataset.line(record),
            truncated: encoded.truncated,
            pieces,
        })
    };
    (0..dataset.len()).filter_map(example).take(count).collect()
}
