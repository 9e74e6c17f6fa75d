//! `anylora chat`: a conversation.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};
use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::Message;
use anylora_engine::Backend;
use anylora_engine_wgpu::OpenOptions;
use anylora_generate::{GenerateError, Prompter, Session};
use clap::Args;

use crate::engine::{DeviceArgs, Job, with_device};
use crate::error::{self, Annotate};
use crate::generation::{GenerationArgs, stream};
use crate::model::{ModelArgs, generate_error, load, load_adapter};
use crate::output;

/// Talk to a model.
///
/// Each line is a message; the model sees the whole conversation. `/reset` starts a new one, `/exit` or Ctrl-D ends.
/// Ctrl-C stops an answer; between answers, twice in a row, it ends too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    anylora chat --model HuggingFaceTB/SmolLM2-135M-Instruct --system 'You answer in one sentence.'")]
pub struct Chat {
    #[command(flatten)]
    model: ModelArgs,
    /// Said to the model before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Chat {
    /// Loads the model and talks.
    pub fn run(self) -> Result<()> {
        let checkpoint = self.model.open()?;
        let adapter = self.model.open_adapter()?;
        let prompter = Prompter::new(&checkpoint).map_err(generate_error)?;
        if prompter.template().is_none() {
            let error = generate_error(GenerateError::NoChatTemplate);
            return Err(error).hint("anylora generate --raw continues a text without a template");
        }
        let job = Talk {
            command: &self,
            checkpoint: &checkpoint,
            adapter: adapter.as_ref(),
            prompter: &prompter,
        };
        with_device(self.device.device, OpenOptions::default(), job)
    }
}

struct Talk<'a> {
    command: &'a Chat,
    checkpoint: &'a Checkpoint,
    adapter: Option<&'a Adapter>,
    prompter: &'a Prompter,
}

impl Job for Talk<'_> {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let model = load(&backend, self.checkpoint, &self.command.model)?;
        let adapters = load_adapter(&model, self.adapter)?;
        let mut session = Session::new(&model, adapters.as_ref());
        let options = self.command.generation.options();
        let interrupt = Interrupt::install()?;
        let system = self.command.system.as_deref();
        let begin = || -> Vec<Message> {
            system
                .map(|text| Message::new("system", text))
                .into_iter()
                .collect()
        };
        let mut messages = begin();
        while let Some(line) = read_line()? {
            match line.trim() {
                "" => continue,
                "/exit" | "/quit" => break,
                "/reset" => {
                    messages = begin();
                    anstream::eprintln!("a new conversation");
                    continue;
                }
                text => messages.push(Message::new("user", text)),
            }
            interrupt.set(ANSWERING);
            let prompt = self.prompter.chat(&messages).map_err(generate_error);
            let answer = prompt.and_then(|prompt| {
                let stopped = || interrupt.is_stopped();
                stream(&mut session, self.prompter, &prompt, &options, stopped)
            });
            interrupt.set(WAITING);
            match answer {
                Ok(answer) => messages.push(Message::new("assistant", answer.text)),
                // Someone is there and can say something else, for example `/reset` where the text is too long.
                Err(error) if std::io::stdin().is_terminal() && !output::is_closed(&error) => {
                    error::report(&error);
                    messages.pop();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The next message; None at the end of the input.
fn read_line() -> Result<Option<String>> {
    if std::io::stdin().is_terminal() {
        let mut stderr = anstream::stderr().lock();
        // Nothing is lost where the prompt can't be shown.
        let _ = write!(stderr, "> ").and_then(|()| stderr.flush());
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    Ok((read.context("stdin could not be read")? > 0).then_some(line))
}

const WAITING: u8 = 0;
const WARNED: u8 = 1;
const ANSWERING: u8 = 2;
const STOPPED: u8 = 3;

/// What Ctrl-C does: stops an answer; while waiting it says how to leave, and the second time it leaves.
struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    fn install() -> Result<Self> {
        let state = Arc::new(AtomicU8::new(WAITING));
        let shared = Arc::clone(&state);
        let handle = move || match shared.load(Ordering::SeqCst) {
            WAITING => {
                shared.store(WARNED, Ordering::SeqCst);
                anstream::eprintln!("\n(Ctrl-C again or Ctrl-D ends)");
            }
            WARNED => std::process::exit(0),
            _ => shared.store(STOPPED, Ordering::SeqCst),
        };
        ctrlc::set_handler(handle).context("Ctrl-C could not be caught")?;
        Ok(Self(state))
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst) == STOPPED
    }
}
