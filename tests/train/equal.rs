//! Ways to the same result.

use anylora_data::Batch;
use anylora_engine_burn::Cpu;
use anylora_train::TrainConfig;
use pollster::block_on;

use crate::setup::{config, trainer};

const IGNORED: i32 = -100;

/// Examples of unequal lengths: ids counted up from a start, all trained but the first token's place.
fn example(start: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| 30 + (start + 7 * i) % 400).collect()
}

/// One example a row, padded.
fn padded(examples: &[Vec<u32>]) -> Batch {
    let length = examples.iter().map(Vec::len).max().unwrap();
    let mut batch = Batch {
        rows: examples.len(),
        length,
        ..Batch::default()
    };
    for example in examples {
        let padding = length - example.len();
        batch.input_ids.extend(example);
        batch.labels.extend(example[1..].iter().map(|&id| id as i32));
        batch.labels.push(IGNORED);
        batch.positions.extend(0..length as u32);
        batch.input_ids.extend(std::iter::repeat_n(0, padding));
        batch.labels.extend(std::iter::repeat_n(IGNORED, padding));
        batch.trained_tokens += example.len() - 1;
        batch.tokens += example.len();
    }
    batch
}

/// All examples in one row.
fn packed(examples: &[Vec<u32>]) -> Batch {
    let mut batch = Batch {
        rows: 1,
        ..Batch::default()
    };
    let mut segments = Vec::new();
    for (segment, example) in examples.iter().enumerate() {
        batch.input_ids.extend(example);
        batch.labels.extend(example[1..].iter().map(|&id| id as i32));
        batch.labels.push(IGNORED);
        batch.positions.extend(0..example.len() as u32);
        segments.extend(std::iter::repeat_n(segment as u32, example.len()));
        batch.trained_tokens += example.len() - 1;
        batch.tokens += example.len();
    }
    batch.length = batch.input_ids.len();
    batch.segments = Some(segments);
    batch
}

/// The gradients of one step, and its loss.
fn gradients(config: &TrainConfig, batches: &[Batch]) -> (Vec<f32>, f32) {
    let mut trainer = trainer(&Cpu::new(None), config, 1);
    // B is zero at first, and then A's gradient would be zero whatever is right.
    let values = anylora_train::State::Param;
    let mut start = block_on(trainer.parameters().download(values)).unwrap();
    for [_, b] in &mut start {
        b.iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = ((i * 37 % 101) as f32 - 50.0) * 1e-3);
    }
    trainer.parameters().upload(values, &start).unwrap();
    let metric = block_on(trainer.step(batches)).unwrap();
    let grads = block_on(trainer.parameters().download_grads()).unwrap();
    (
        grads.into_iter().flatten().flatten().collect(),
        metric.loss.unwrap(),
    )
}

fn assert_close(what: &str, (found, loss): (Vec<f32>, f32), (expected, expected_loss): &(Vec<f32>, f32)) {
    assert!(
        (loss / expected_loss - 1.0).abs() < 1e-5,
        "{what}: loss {loss}, expected {expected_loss}"
    );
    let norm = |values: &[f32]| {
        values
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let difference: Vec<f32> = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| found - expected)
        .collect();
    let off = norm(&difference) / norm(expected);
    assert!(
        norm(expected) > 1e-3 && off < 1e-5,
        "{what}: gradients are off by {off:e}"
    );
}

#[test]
fn accumulated_and_packed_rows_give_the_gradients_of_one_batch() {
    let config = TrainConfig {
        dropout: 0.0,
        ..config()
    };
    let examples: Vec<_> = [5, 17, 9, 2]
        .iter()
        .enumerate()
        .map(|(i, &length)| example(31 * i as u32, length))
        .collect();
    let expected = gradients(&config, &[padded(&examples)]);
    let single: Vec<_> = examples
        .iter()
        .map(|example| padded(std::slice::from_ref(example)))
        .collect();
    let accumulating = TrainConfig {
        grad_accum: 4,
        ..config.clone()
    };
    assert_close("accumulated", gradients(&accumulating, &single), &expected);
    let config = TrainConfig {
        max_length: 40,
        ..config
    };
    assert_close("packed", gradients(&config, &[packed(&examples)]), &expected);
}

/// Replay sees forward's masks: else the gradients of what is replayed would differ.
#[test]
fn with_dropout_recompute_changes_no_bit() {
    let batch = padded(&[example(1, 20), example(2, 12)]);
    let with = |recompute, dropout| {
        let config = TrainConfig {
            recompute,
            dropout,
            ..config()
        };
        gradients(&config, std::slice::from_ref(&batch))
    };
    assert!(with(true, 0.3) == with(false, 0.3));
    assert!(with(true, 0.3) != with(true, 0.0));
}
