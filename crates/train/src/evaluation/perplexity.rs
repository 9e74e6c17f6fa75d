//! Perplexity: `exp` of the mean negative log-likelihood of a token.

use std::ops::Range;

use anylora_data::{Batch, BatchError, Dataset, Encoded, Encoder, IGNORED};
use anylora_engine::Backend;
use anylora_models::Model;
use anylora_nn::Adapters;
use serde::Serialize;

use super::EvalOptions;
use crate::{TrainError, pass};

/// Batches that are sorted by length together, so that rows of a batch need little padding.
const SLAB_BATCHES: usize = 64;

/// A perplexity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// The mean negative log-likelihood of a token, natural logarithm.
    pub nll: f64,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// `exp(nll)`.
    pub perplexity: f64,
}

/// Part of an example: inputs, and what each has to give.
struct Window {
    input_ids: Vec<u32>,
    labels: Vec<i32>,
}

/// The perplexity of a model on all records of a data set. Which tokens count is the encoder's choice, which must not
/// cut examples off; `each(n)` hears of every `n` records that are done.
///
/// An example longer than `max_length` is read in windows that begin anew; each of its tokens but the first is
/// predicted once.
///
/// # Errors
/// [`TrainError::NoTrainedTokens`], records that can't be read or encoded, device errors.
pub async fn perplexity<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    encoder: &Encoder,
    dataset: &Dataset,
    options: EvalOptions,
    mut each: impl FnMut(usize),
) -> Result<Perplexity, TrainError> {
    let EvalOptions {
        batch_size,
        max_length,
    } = options;
    let table = model.rope.table(model.backend(), max_length, max_length)?;
    let (mut nll, mut tokens) = (0.0, 0);
    let mut slab: Vec<Window> = Vec::new();
    for record in 0..dataset.len() {
        let encoded = encode(encoder, dataset, record)?;
        slab.extend(windows(&encoded, max_length));
        if slab.len() >= SLAB_BATCHES * batch_size || record + 1 == dataset.len() {
            slab.sort_by_key(|window| window.input_ids.len());
            for rows in slab.chunks(batch_size) {
                let loss = pass::evaluate(model, adapters, &batch(rows), &table)?;
                nll += f64::from(loss.to_f32().await?[0]);
                tokens += rows.iter().map(Window::trained_tokens).sum::<usize>();
            }
            slab.clear();
        }
        each(record + 1);
    }
    if tokens == 0 {
        return Err(TrainError::NoTrainedTokens);
    }
    let nll = nll / tokens as f64;
    Ok(Perplexity {
        nll,
        tokens,
        perplexity: nll.exp(),
    })
}

fn encode(encoder: &Encoder, dataset: &Dataset, record: usize) -> Result<Encoded, BatchError> {
    encoder
        .encode(&dataset.example(record)?)
        .map_err(|error| BatchError::Encode {
            file: dataset.name().to_owned(),
            line: dataset.line(record),
            error,
        })
}

impl Window {
    fn trained_tokens(&self) -> usize {
        self.labels.iter().filter(|label| **label != IGNORED).count()
    }
}

/// The windows in which something counts.
fn windows(encoded: &Encoded, max_length: usize) -> impl Iterator<Item = Window> {
    // The last token predicts nothing.
    let inputs = encoded.input_ids.len().saturating_sub(1);
    (0..inputs)
        .step_by(max_length)
        .map(move |start| {
            let range: Range<usize> = start..inputs.min(start + max_length);
            Window {
                labels: encoded.labels[range.start + 1..range.end + 1].to_vec(),
                input_ids: encoded.input_ids[range].to_vec(),
            }
        })
        .filter(|window| window.trained_tokens() > 0)
}

/// One row a window, padded at the end, where causality keeps it out.
fn batch(windows: &[Window]) -> Batch {
    let length = windows
        .iter()
        .map(|window| window.input_ids.len())
        .max()
        .unwrap_or(0);
    let mut batch = Batch {
        rows: windows.len(),
        length,
        trained_tokens: windows.iter().map(Window::trained_tokens).sum(),
        tokens: windows.iter().map(|window| window.input_ids.len()).sum(),
        ..Batch::default()
    };
    for window in windows {
        let padding = length - window.input_ids.len();
        batch.input_ids.extend(&window.input_ids);
        batch.input_ids.extend(std::iter::repeat_n(0, padding));
        batch.labels.extend(&window.labels);
        batch.labels.extend(std::iter::repeat_n(IGNORED, padding));
        batch.positions.extend(0..length as u32);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        let encoded = Encoded {
            input_ids: (0..11).collect(),
            labels: (0..11).collect(),
            ..Encoded::default()
        };
        for max_length in [1, 3, 5, 10, 11, 100] {
            let windows: Vec<Window> = windows(&encoded, max_length).collect();
            let labels: Vec<i32> = windows.iter().flat_map(|window| window.labels.clone()).collect();
            assert_eq!(labels, (1..11).collect::<Vec<_>>(), "{max_length}");
            for window in &windows {
                assert!(window.input_ids.len() <= max_length);
                let pairs = window.input_ids.iter().zip(&window.labels);
                assert!(pairs.clone().all(|(&id, &label)| id.cast_signed() + 1 == label));
            }
            let batch = batch(&windows);
            assert_eq!(batch.labels.len(), batch.rows * batch.length);
            assert_eq!((batch.trained_tokens, batch.tokens), (10, 10));
        }
    }
}
