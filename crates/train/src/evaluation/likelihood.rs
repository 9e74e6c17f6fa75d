//! The log-likelihood of each of several continuations of a prompt.

use std::collections::BTreeMap;

use anylora_engine::Backend;
use anylora_models::Model;
use anylora_nn::{Adapters, Context};

use crate::TrainError;

/// The logits that are alive at once take at most this, or one row where that is more.
const LOGITS_BYTES: usize = 64 << 20;

/// A token that a row's input has to give, and whose score it counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The input's place that predicts it.
    pub position: usize,
    /// The token.
    pub token: u32,
    /// `[case, word]`.
    pub score: [usize; 2],
}

/// An input and all that is asked of it: continuations that differ in their last token share one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub input_ids: Vec<u32>,
    pub queries: Vec<Query>,
}

/// Adds the log-probability of every query of `rows` to its score. `table` is the rotary table.
pub(super) async fn add_scores<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    rows: &[Row],
    table: &anylora_engine::Tensor<B>,
    scores: &mut [Vec<f64>],
) -> Result<(), TrainError> {
    let time = rows.iter().map(|row| row.input_ids.len()).max().unwrap_or(0);
    let mut input_ids = Vec::with_capacity(rows.len() * time);
    // By place in the batch: positions that several words ask are computed once.
    let mut queries: BTreeMap<u32, Vec<Query>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        input_ids.extend(&row.input_ids);
        // Padding at the end: causality keeps it out.
        input_ids.resize((index + 1) * time, 0);
        for query in &row.queries {
            let place = (index * time + query.position) as u32;
            queries.entry(place).or_default().push(*query);
        }
    }
    let context = Context::new([rows.len(), time], None, None, table.clone())?;
    let hidden = model.forward(&input_ids, &context, adapters, |_, _| {})?;
    let vocab_size = model.config.vocab_size;
    let places: Vec<u32> = queries.keys().copied().collect();
    for places in places.chunks((LOGITS_BYTES / (4 * vocab_size)).max(1)) {
        let logits = model.logits(&model.gather(&hidden, places)?)?.to_f32().await?;
        for (place, logits) in places.iter().zip(logits.chunks_exact(vocab_size)) {
            let lse = log_sum_exp(logits);
            for query in &queries[place] {
                let [case, word] = query.score;
                scores[case][word] += f64::from(logits[query.token as usize]) - lse;
            }
        }
    }
    Ok(())
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits
        .iter()
        .map(|logit| (f64::from(*logit) - largest).exp())
        .sum();
    largest + sum.ln()
}
