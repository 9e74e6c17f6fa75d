//! The loop: read the prompt, pick a token, give its text, go on.

use std::ops::ControlFlow;

use anylora_engine::Backend;

use crate::{GenerateError, Prompter, Result, Sampler, Sampling, Session, StopStrings};

/// How to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationOptions {
    /// At most this many new tokens; fewer where the model's length ends first.
    pub max_tokens: usize,
    /// How tokens are picked.
    pub sampling: Sampling,
    /// Texts that end the answer and are no part of it.
    pub stop: Vec<String>,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self {
            max_tokens: 512,
            sampling: Sampling::default(),
            stop: Vec::new(),
        }
    }
}

/// What happens while a text is generated, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The prompt was read.
    Prompt {
        /// Its tokens.
        tokens: usize,
    },
    /// A token was picked.
    Token(u32),
    /// More text, in whole characters.
    Text(&'a str),
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// With an end token.
    EndToken(u32),
    /// At a stop string.
    StopString,
    /// At `max_tokens`, or where the model's positions end.
    Length,
    /// The caller broke it off.
    Cancelled,
}

/// A generated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The new text.
    pub text: String,
    /// The new tokens, without the end token.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// Continues `prompt`. `on_event` sees every token and piece of text as it comes, and breaks generation off by
/// answering [`ControlFlow::Break`]; what was generated until then is returned.
///
/// # Errors
/// [`GenerateError::Sampling`], [`GenerateError::NotANumber`], those of [`Session::read`].
pub async fn generate<B: Backend>(
    session: &mut Session<'_, B>,
    prompter: &Prompter,
    prompt: &[u32],
    options: &GenerationOptions,
    mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Generated> {
    let mut sampler = Sampler::new(options.sampling)?;
    let mut logits = session.read(prompt, options.max_tokens).await?;
    let mut text = Text {
        stream: prompter.tokenizer().text_stream(true),
        stop: StopStrings::new(options.stop.iter().cloned()),
        whole: String::new(),
    };
    let mut context = prompt.to_vec();
    let mut go_on = on_event(Event::Prompt { tokens: prompt.len() });
    let finish = loop {
        let count = context.len() - prompt.len();
        if go_on.is_break() {
            break FinishReason::Cancelled;
        }
        if count >= options.max_tokens || session.room() == 0 {
            break FinishReason::Length;
        }
        let token = sampler
            .pick(&mut logits, &context)
            .ok_or(GenerateError::NotANumber {
                tokens: context.len(),
            })?;
        if prompter.end_tokens().contains(&token) {
            break FinishReason::EndToken(token);
        }
        context.push(token);
        go_on = on_event(Event::Token(token));
        if text.push(token, &mut on_event, &mut go_on)? {
            break FinishReason::StopString;
        }
        if go_on.is_continue() && count + 1 < options.max_tokens {
            logits = session.push(token).await?;
        }
    };
    if finish != FinishReason::StopString {
        text.finish(&mut on_event)?;
    }
    Ok(Generated {
        text: text.whole,
        tokens: context.split_off(prompt.len()),
        finish,
    })
}

/// Tokens to text that may go out.
struct Text<'a> {
    stream: anylora_data::TextStream<'a>,
    stop: StopStrings,
    whole: String,
}

impl Text<'_> {
    /// Whether a stop string ends the text.
    fn push(
        &mut self,
        token: u32,
        on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
        go_on: &mut ControlFlow<()>,
    ) -> Result<bool> {
        let (out, stopped) = self.stop.push(&self.stream.push(token)?);
        if !out.is_empty() {
            self.whole.push_str(&out);
            if on_event(Event::Text(&out)).is_break() {
                *go_on = ControlFlow::Break(());
            }
        }
        Ok(stopped)
    }

    fn finish(&mut self, on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>) -> Result<()> {
        let (mut out, stopped) = self.stop.push(&self.stream.finish()?);
        if !stopped {
            out.push_str(&self.stop.finish());
        }
        if !out.is_empty() {
            self.whole.push_str(&out);
            let _ = on_event(Event::Text(&out));
        }
        Ok(())
    }
}
