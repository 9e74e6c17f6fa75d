//! The options that `generate` and `chat` share, and what they print beside the text.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Result;
use anylora_engine::Backend;
use anylora_generate::{
    Event, FinishReason, Generated, GenerationOptions, Prompter, Sampling, Session, generate,
};
use clap::Args;

use crate::model::generate_error;
use crate::output;

/// How text is generated.
#[derive(Clone, Debug, Args)]
pub struct GenerationArgs {
    /// At most this many new tokens
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub max_tokens: usize,
    /// 0 picks the likeliest token each time; higher is more varied
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// Pick among the K likeliest tokens; 0 is all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Pick among the likeliest tokens that together reach this probability
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Pick among tokens at least this likely relative to the likeliest
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Above 1, tokens that were there before become less likely
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repetition_penalty: f32,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// The same seed draws the same text
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

impl GenerationArgs {
    /// For the generate crate.
    pub fn options(&self) -> GenerationOptions {
        GenerationOptions {
            max_tokens: self.max_tokens,
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
            },
            stop: self.stop.clone(),
        }
    }
}

/// Generates, writing the text to stdout as it comes and the speed to stderr at the end. `cancelled` is asked after
/// every token.
pub fn stream<B: Backend>(
    session: &mut Session<'_, B>,
    prompter: &Prompter,
    prompt: &[u32],
    options: &GenerationOptions,
    cancelled: impl Fn() -> bool,
) -> Result<Generated> {
    let begin = Instant::now();
    let mut read = None;
    let mut printed = Ok(());
    let generated = pollster::block_on(generate(session, prompter, prompt, options, |event| {
        match event {
            Event::Prompt { .. } => read = Some(begin.elapsed()),
            Event::Token(_) => {}
            Event::Text(text) => printed = output::print(text),
        }
        if printed.is_err() || cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }))
    .map_err(generate_error)?;
    printed?;
    output::print("\n")?;
    let read = read.unwrap_or_default();
    let speed = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    let (new, wrote) = (generated.tokens.len(), begin.elapsed().saturating_sub(read));
    let ended = match generated.finish {
        FinishReason::EndToken(token) => {
            let name = prompter.tokenizer().id_to_token(token);
            format!("ended with {}", name.unwrap_or_else(|| token.to_string()))
        }
        FinishReason::StopString => "ended at a stop string".to_owned(),
        FinishReason::Length => "cut off at --max-tokens or the model's length".to_owned(),
        FinishReason::Cancelled => "stopped".to_owned(),
    };
    anstream::eprintln!(
        "prompt {} tokens, {:.1} tokens/s; new {new} tokens, {:.1} tokens/s; {ended}",
        prompt.len(),
        speed(prompt.len(), read),
        speed(new, wrote),
    );
    Ok(generated)
}
