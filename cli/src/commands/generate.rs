//! `anylora generate`: one answer.

use anyhow::Result;
use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::Message;
use anylora_engine::Backend;
use anylora_engine_wgpu::OpenOptions;
use anylora_generate::{Prompter, Session};
use clap::Args;

use crate::engine::{DeviceArgs, Job, with_device};
use crate::generation::{GenerationArgs, stream};
use crate::model::{ModelArgs, generate_error, load, load_adapter};

/// Answer a prompt.
///
/// The prompt goes through the model's chat template, unless `--raw` is given: then the text is continued as it is.
/// Only the new text is written to stdout; tokens per second go to stderr.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora generate --model HuggingFaceTB/SmolLM2-135M-Instruct --prompt 'What is the capital of France?'\n  \
    anylora generate --model model.gguf --raw --prompt 'Once upon a time' --temperature 0.8 --top-p 0.9 --seed 7")]
pub struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    /// What to answer or continue
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Said to the model before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as it is, without a chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Generate {
    /// Loads the model and answers.
    pub fn run(self) -> Result<()> {
        let checkpoint = self.model.open()?;
        let adapter = self.model.open_adapter()?;
        let prompter = Prompter::new(&checkpoint).map_err(generate_error)?;
        let prompt = if self.raw {
            prompter.raw(&self.prompt)
        } else {
            let system = self
                .system
                .as_deref()
                .map(|system| Message::new("system", system));
            let messages: Vec<_> = system
                .into_iter()
                .chain([Message::new("user", &self.prompt)])
                .collect();
            prompter.chat(&messages)
        };
        let prompt = prompt.map_err(generate_error)?;
        let job = Answer {
            command: &self,
            checkpoint: &checkpoint,
            adapter: adapter.as_ref(),
            prompter: &prompter,
            prompt: &prompt,
        };
        with_device(self.device.device, OpenOptions::default(), job)
    }
}

struct Answer<'a> {
    command: &'a Generate,
    checkpoint: &'a Checkpoint,
    adapter: Option<&'a Adapter>,
    prompter: &'a Prompter,
    prompt: &'a [u32],
}

impl Job for Answer<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let model = load(&backend, self.checkpoint, &self.command.model)?;
        let adapters = load_adapter(&model, self.adapter)?;
        let mut session = Session::new(&model, adapters.as_ref());
        let options = self.command.generation.options();
        stream(&mut session, self.prompter, self.prompt, &options, || false)?;
        Ok(())
    }
}
