//! Perplexity: `exp` of the mean negative log-likelihood of a token.

use std::collections::BTreeMap;
use std::ops::Range;

use anylora_data::{BatchError, Dataset, Encoded, Encoder, IGNORED};
use anylora_engine::{Backend, DType, MemoryKind, Tensor, ops};
use anylora_models::Model;
use anylora_nn::{Adapters, Context};
use serde::{Deserialize, Serialize};

use super::{EvalOptions, Results};
use crate::TrainError;
use crate::metrics::{LEVEL, RESAMPLES, bootstrap};

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
    /// Bootstrap confidence intervals.
    pub intervals: PerplexityIntervals,
}

/// Percentile intervals over resampled examples (of long ones, windows), `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PerplexityIntervals {
    /// 0.95.
    pub level: f64,
    /// Of the mean negative log-likelihood.
    pub nll: [f64; 2],
    /// Of the perplexity.
    pub perplexity: [f64; 2],
}

/// What an example's tokens cost: one item a window of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExampleLoss {
    /// Sums of the negative log-likelihood.
    pub nll: Vec<f64>,
    /// Tokens that were predicted.
    pub tokens: Vec<usize>,
}

/// Part of an example: inputs, and what each has to give.
struct Window {
    example: usize,
    /// Which of the example's windows.
    place: usize,
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
    each: impl FnMut(usize),
) -> Result<Perplexity, TrainError> {
    let mut results = Results::default();
    example_losses(model, adapters, encoder, dataset, options, &mut results, each).await?;
    summarize_losses(&results, 0)
}

/// [`perplexity`] in two steps: this one adds the losses of the examples that have none yet.
///
/// # Errors
/// Those of [`perplexity`]; [`TrainError::File`].
pub async fn example_losses<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    encoder: &Encoder,
    dataset: &Dataset,
    options: EvalOptions,
    results: &mut Results<ExampleLoss>,
    mut each: impl FnMut(usize),
) -> Result<(), TrainError> {
    let EvalOptions {
        batch_size,
        max_length,
    } = options;
    let table = model.rope.table(model.backend(), max_length, max_length)?;
    let missing: Vec<usize> = (0..dataset.len())
        .filter(|&example| results.get(example).is_none())
        .collect();
    let mut slab: Vec<Window> = Vec::new();
    // Of the examples in the slab: their windows that are not done.
    let mut open: BTreeMap<usize, (usize, ExampleLoss)> = BTreeMap::new();
    for (index, &example) in missing.iter().enumerate() {
        let encoded = encode(encoder, dataset, example)?;
        let before = slab.len();
        slab.extend(windows(&encoded, max_length, example));
        let count = slab.len() - before;
        if count == 0 {
            results.add(example, ExampleLoss::default())?;
        } else {
            let loss = ExampleLoss {
                nll: vec![0.0; count],
                tokens: vec![0; count],
            };
            open.insert(example, (count, loss));
        }
        if slab.len() >= SLAB_BATCHES * batch_size || index + 1 == missing.len() {
            slab.sort_by_key(|window| window.input_ids.len());
            for rows in slab.chunks(batch_size) {
                let losses = row_losses(model, adapters, rows, &table).await?;
                for (row, nll) in rows.iter().zip(losses) {
                    let Some((left, loss)) = open.get_mut(&row.example) else {
                        continue;
                    };
                    (loss.nll[row.place], loss.tokens[row.place]) = (nll, row.trained_tokens());
                    *left -= 1;
                    if *left == 0
                        && let Some((_, loss)) = open.remove(&row.example)
                    {
                        results.add(row.example, loss)?;
                    }
                }
                each(results.len());
            }
            slab.clear();
        }
    }
    Ok(())
}

/// The perplexity that follows from examples' losses. `seed` is the bootstrap's.
///
/// # Errors
/// [`TrainError::NoTrainedTokens`].
pub fn summarize_losses(results: &Results<ExampleLoss>, seed: u64) -> Result<Perplexity, TrainError> {
    let windows: Vec<(f64, usize)> = results
        .iter()
        .flat_map(|(_, loss)| loss.nll.iter().copied().zip(loss.tokens.iter().copied()))
        .collect();
    let tokens: usize = windows.iter().map(|(_, tokens)| tokens).sum();
    if tokens == 0 {
        return Err(TrainError::NoTrainedTokens);
    }
    let interval = bootstrap(windows.len(), RESAMPLES, LEVEL, seed, |drawn| {
        let nll: f64 = drawn.iter().map(|&window| windows[window].0).sum();
        let tokens: usize = drawn.iter().map(|&window| windows[window].1).sum();
        nll / tokens as f64
    });
    let nll = [interval.low, interval.high];
    Ok(Perplexity {
        nll: interval.value,
        tokens,
        perplexity: interval.value.exp(),
        intervals: PerplexityIntervals {
            level: LEVEL,
            nll,
            perplexity: nll.map(f64::exp),
        },
    })
}

/// The sum of the negative log-likelihood of each row. Only tokens that count go through the head.
async fn row_losses<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    rows: &[Window],
    table: &Tensor<B>,
) -> Result<Vec<f64>, TrainError> {
    let time = rows.iter().map(|row| row.input_ids.len()).max().unwrap_or(0);
    let mut input_ids = Vec::with_capacity(rows.len() * time);
    for (index, row) in rows.iter().enumerate() {
        input_ids.extend(&row.input_ids);
        // Padding at the end: causality keeps it out.
        input_ids.resize((index + 1) * time, 0);
    }
    let context = Context::new([rows.len(), time], None, None, table.clone())?;
    let hidden = model.forward(&input_ids, &context, adapters, |_, _| {})?;
    let mut losses = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let counted = || {
            row.labels
                .iter()
                .enumerate()
                .filter(|(_, label)| **label != IGNORED)
        };
        let places: Vec<u32> = counted().map(|(at, _)| (index * time + at) as u32).collect();
        let labels: Vec<i32> = counted().map(|(_, label)| *label).collect();
        let labels = Tensor::from_bytes(
            model.backend(),
            &[labels.len()],
            DType::I32,
            MemoryKind::Activations,
            bytemuck::cast_slice(&labels),
        )?;
        let hidden = model.gather(&hidden, &places)?;
        losses.push(ops::head_loss(&hidden, &model.lm_head, &labels, None)?.loss);
    }
    let mut sums = Vec::with_capacity(rows.len());
    for loss in losses {
        sums.push(f64::from(loss.to_f32().await?[0]));
    }
    Ok(sums)
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
fn windows(encoded: &Encoded, max_length: usize, example: usize) -> impl Iterator<Item = Window> {
    // The last token predicts nothing.
    let inputs = encoded.input_ids.len().saturating_sub(1);
    (0..inputs)
        .step_by(max_length)
        .map(move |start| {
            let range: Range<usize> = start..inputs.min(start + max_length);
            Window {
                example,
                place: 0,
                labels: encoded.labels[range.start + 1..range.end + 1].to_vec(),
                input_ids: encoded.input_ids[range].to_vec(),
            }
        })
        .filter(|window| window.trained_tokens() > 0)
        .enumerate()
        .map(|(place, window)| Window { place, ..window })
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
            let windows: Vec<Window> = windows(&encoded, max_length, 7).collect();
            let labels: Vec<i32> = windows.iter().flat_map(|window| window.labels.clone()).collect();
            assert_eq!(labels, (1..11).collect::<Vec<_>>(), "{max_length}");
            for window in &windows {
                assert!(window.input_ids.len() <= max_length);
                let pairs = window.input_ids.iter().zip(&window.labels);
                assert!(pairs.clone().all(|(&id, &label)| id.cast_signed() + 1 == label));
            }
            assert!(
                windows
                    .iter()
                    .enumerate()
                    .all(|(at, window)| window.place == at && window.example == 7)
            );
        }
    }

    #[test]
    fn the_mean_is_over_tokens_and_the_interval_over_windows() {
        let mut results = Results::default();
        for (example, nll, tokens) in [
            (0, vec![2.0, 1.0], vec![2, 1]),
            (3, vec![9.0], vec![3]),
            (4, vec![], vec![]),
        ] {
            results.add(example, ExampleLoss { nll, tokens }).unwrap();
        }
        let found = summarize_losses(&results, 1).unwrap();
        assert_eq!((found.nll, found.tokens), (2.0, 6));
        assert_eq!(found.intervals.nll, [1.0, 3.0]);
        assert_eq!(found.intervals.perplexity, [1f64.exp(), 3f64.exp()]);
        assert!(summarize_losses(&Results::default(), 1).is_err());
    }
}
