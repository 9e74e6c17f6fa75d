//! Several prompts at once: one pass a token for all of them.

use anylora_engine::{Backend, Tensor};
use anylora_models::Model;
use anylora_nn::Adapters;

use crate::{
    FinishReason, GenerateError, Generated, GenerationOptions, Prompter, Result, Sampler, StopStrings,
};

/// One text in the making.
struct Row<'a> {
    prompt: usize,
    context: Vec<u32>,
    sampler: Sampler,
    stream: anylora_data::TextStream<'a>,
    stop: StopStrings,
    text: String,
    finish: Option<FinishReason>,
}

/// Continues every prompt as [`crate::generate()`] would continue it alone, each with the seed of `options`. A batch
/// takes as long as its longest text.
///
/// # Errors
/// [`GenerateError::EmptyPrompt`]; [`GenerateError::TooLong`] for a prompt that leaves no room for a token;
/// [`GenerateError::Sampling`], [`GenerateError::NotANumber`], device errors.
pub async fn generate_batch<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    prompter: &Prompter,
    prompts: &[Vec<u32>],
    options: &GenerationOptions,
) -> Result<Vec<Generated>> {
    let limit = model.max_length();
    let Some(time) = prompts.iter().map(Vec::len).max() else {
        return Ok(Vec::new());
    };
    if prompts.iter().any(Vec::is_empty) {
        return Err(GenerateError::EmptyPrompt);
    }
    if time >= limit {
        return Err(GenerateError::TooLong { tokens: time, limit });
    }
    let mut rows = prompts
        .iter()
        .map(|prompt| Row::new(prompt, prompter, options))
        .collect::<Result<Vec<_>>>()?;
    let capacity = (time + options.max_tokens).min(limit);
    let mut cache = model.kv_cache(rows.len(), capacity)?;
    let table = model.rope.table(model.backend(), capacity, time)?;
    let counts: Vec<usize> = prompts.iter().map(Vec::len).collect();
    let mut ids = Vec::with_capacity(rows.len() * time);
    for prompt in prompts {
        ids.extend(prompt);
        ids.resize(ids.len() + time - prompt.len(), 0);
    }
    let hidden = model.prefill(&ids, &counts, &mut cache, &table, adapters)?;
    let last: Vec<u32> = (0..rows.len())
        .map(|row| (row * time + counts[row] - 1) as u32)
        .collect();
    let mut logits = logits(model, &model.gather(&hidden, &last)?).await?;
    drop(hidden);
    loop {
        for (row, logits) in rows
            .iter_mut()
            .zip(logits.chunks_exact_mut(model.config.vocab_size))
        {
            row.push(logits, prompter, options.max_tokens, limit)?;
        }
        if rows.iter().all(|row| row.finish.is_some()) {
            break;
        }
        for (index, _) in rows.iter().enumerate().filter(|(_, row)| row.finish.is_some()) {
            // A finished row is computed with the others, from its first position anew: its room never ends.
            cache.truncate(index, 0);
        }
        let next: Vec<u32> = rows.iter().map(Row::next).collect();
        let hidden = model.forward_cached(&next, &mut cache, &table, adapters)?;
        logits = self::logits(model, &hidden).await?;
    }
    rows.into_iter().map(Row::finish).collect()
}

async fn logits<B: Backend>(model: &Model<B>, hidden: &Tensor<B>) -> Result<Vec<f32>> {
    Ok(model.logits(hidden)?.to_f32().await?)
}

impl<'a> Row<'a> {
    fn new(prompt: &[u32], prompter: &'a Prompter, options: &GenerationOptions) -> Result<Self> {
        Ok(Self {
            prompt: prompt.len(),
            context: prompt.to_vec(),
            sampler: Sampler::new(options.sampling)?,
            stream: prompter.tokenizer().text_stream(true),
            stop: StopStrings::new(options.stop.iter().cloned()),
            text: String::new(),
            finish: (options.max_tokens == 0).then_some(FinishReason::Length),
        })
    }

    /// Picks the next token, unless the text has ended.
    fn push(
        &mut self,
        logits: &mut [f32],
        prompter: &Prompter,
        max_tokens: usize,
        limit: usize,
    ) -> Result<()> {
        if self.finish.is_some() {
            return Ok(());
        }
        let picked = self.sampler.pick(logits, &self.context);
        let token = picked.ok_or(GenerateError::NotANumber {
            tokens: self.context.len(),
        })?;
        if prompter.end_tokens().contains(&token) {
            self.finish = Some(FinishReason::EndToken(token));
            return Ok(());
        }
        self.context.push(token);
        let (text, stopped) = self.stop.push(&self.stream.push(token)?);
        self.text.push_str(&text);
        if stopped {
            self.finish = Some(FinishReason::StopString);
        } else if self.context.len() - self.prompt >= max_tokens || self.context.len() >= limit {
            self.finish = Some(FinishReason::Length);
        }
        Ok(())
    }

    /// The token that the next pass reads.
    fn next(&self) -> u32 {
        self.context.last().copied().unwrap_or(0)
    }

    fn finish(mut self) -> Result<Generated> {
        let finish = self.finish.unwrap_or(FinishReason::Length);
        if finish != FinishReason::StopString {
            let (text, stopped) = self.stop.push(&self.stream.finish()?);
            self.text.push_str(&text);
            if !stopped {
                self.text.push_str(&self.stop.finish());
            }
        }
        Ok(Generated {
            text: self.text,
            tokens: self.context.split_off(self.prompt),
            finish,
        })
    }
}
