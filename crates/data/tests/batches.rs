//! Batches: nothing lost or doubled, rows as they should be, and resuming anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use anylora_data::{
    Batch, BatchError, BatchOptions, Batches, Dataset, EncodeOptions, Encoded, Encoder, IGNORED, Position,
    Tokenizer, TokenizerConfig,
};
use proptest::prelude::*;

const TOKENIZER: &[u8] = include_bytes!("fixtures/tiny-tokenizer/tokenizer.json");
const CONFIG: &[u8] = include_bytes!("fixtures/tiny-tokenizer/tokenizer_config.json");

static TINY: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::from_json(TOKENIZER, TokenizerConfig::from_json(CONFIG).unwrap()).unwrap());

static ENCODER: LazyLock<Arc<Encoder>> = LazyLock::new(|| encoder(None));

fn encoder(max_length: Option<usize>) -> Arc<Encoder> {
    let options = EncodeOptions {
        max_length,
        ..EncodeOptions::default()
    };
    Arc::new(Encoder::new(TINY.clone(), None, options).unwrap())
}

/// Records of the given lengths; each has ids of its own, so that it can be told from the others.
fn tokens(lengths: &[usize]) -> Arc<Dataset> {
    let mut file = String::new();
    for (record, length) in lengths.iter().enumerate() {
        let ids: Vec<usize> = (0..*length).map(|at| (record * 31 + at) % 500 + 3).collect();
        let masked = record % 3;
        let labels: Vec<i64> = ids
            .iter()
            .enumerate()
            .map(|(at, id)| if at < masked { -100 } else { *id as i64 })
            .collect();
        file += &format!("{}\n", serde_json::json!({"input_ids": ids, "labels": labels}));
    }
    Arc::new(Dataset::from_bytes("tokens.jsonl", file.into_bytes(), None).unwrap())
}

fn options(batch_size: usize, packing: Option<usize>, shuffle: Option<u64>) -> BatchOptions {
    BatchOptions {
        batch_size,
        packing,
        shuffle,
        pad_id: 0,
        pad_to_multiple_of: 4,
    }
}

fn batches(dataset: &Arc<Dataset>, options: BatchOptions, position: Position) -> Batches {
    Batches::new(dataset.clone(), ENCODER.clone(), options, position).unwrap()
}

/// The whole of the next epoch.
fn epoch(batches: &mut Batches) -> Vec<Batch> {
    let mut all = Vec::new();
    loop {
        all.push(batches.next_batch().unwrap());
        if all[all.len() - 1].last_of_epoch {
            return all;
        }
    }
}

/// Takes a batch apart: each record's ids and shifted labels. Checks everything else on the way.
fn examples(batch: &Batch) -> Vec<(usize, Vec<u32>, Vec<i32>)> {
    let cells = batch.rows * batch.length;
    assert_eq!(
        [batch.input_ids.len(), batch.labels.len(), batch.positions.len()],
        [cells; 3]
    );
    let mut found = Vec::new();
    let mut records = batch.records.iter();
    for row in 0..batch.rows {
        let range = row * batch.length..(row + 1) * batch.length;
        let (ids, labels) = (&batch.input_ids[range.clone()], &batch.labels[range.clone()]);
        let positions = &batch.positions[range.clone()];
        // Positions start anew with each example and with the padding.
        let starts: Vec<usize> = (0..batch.length).filter(|&at| positions[at] == 0).collect();
        for (number, &start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(batch.length);
            assert_eq!(
                positions[start..end],
                (0..(end - start) as u32).collect::<Vec<_>>()
            );
            if let Some(segments) = &batch.segments {
                assert!(
                    segments[range.clone()][start..end]
                        .iter()
                        .all(|segment| *segment == number as u32)
                );
            }
            if ids[start..end].iter().all(|id| *id == 0) {
                assert_eq!(end, batch.length, "padding comes last");
                assert!(
                    labels[start..end].iter().all(|label| *label == IGNORED),
                    "padding is not trained"
                );
                continue;
            }
            assert_eq!(
                labels[end - 1],
                IGNORED,
                "nothing is predicted over an example's end"
            );
            found.push((
                *records.next().unwrap(),
                ids[start..end].to_vec(),
                labels[start..end].to_vec(),
            ));
        }
    }
    assert_eq!(records.next(), None);
    let trained = batch.labels.iter().filter(|label| **label != IGNORED).count();
    assert_eq!(batch.trained_tokens, trained);
    assert_eq!(
        batch.tokens,
        batch.input_ids.iter().filter(|id| **id != 0).count()
    );
    found
}

fn encoded(dataset: &Dataset, record: usize) -> Encoded {
    ENCODER.encode(&dataset.example(record).unwrap()).unwrap()
}

/// Each record that has something to train comes once, with its own ids and labels.
fn assert_whole(dataset: &Arc<Dataset>, batches: &[Batch]) {
    let mut expected: BTreeMap<usize, Encoded> = (0..dataset.len())
        .map(|record| (record, encoded(dataset, record)))
        .filter(|(_, encoded)| encoded.trained_tokens() > 0)
        .collect();
    for (record, ids, labels) in batches.iter().flat_map(examples) {
        let whole = expected
            .remove(&record)
            .unwrap_or_else(|| panic!("record {record} comes twice"));
        assert_eq!(ids, whole.input_ids);
        assert_eq!(labels[..labels.len() - 1], whole.labels[1..]);
    }
    assert_eq!(expected.keys().next(), None, "a record is lost");
}

#[test]
fn in_order_without_a_seed() {
    let dataset = tokens(&[5, 9, 2, 7, 3]);
    let mut stream = batches(&dataset, options(2, None, None), Position::default());
    let all = epoch(&mut stream);
    let records: Vec<_> = all.iter().map(|batch| batch.records.clone()).collect();
    // Record 2 has two tokens, neither of them trained.
    assert_eq!(records, [vec![0, 1], vec![3, 4]]);
    assert_eq!(
        all.iter()
            .map(|batch| (batch.rows, batch.length))
            .collect::<Vec<_>>(),
        [(2, 12), (2, 8)]
    );
    assert_eq!(all[0].segments, None);
    assert_eq!(
        stream.position(),
        &Position {
            epoch: 1,
            ..Position::default()
        }
    );
    assert_eq!(stream.count(0).unwrap(), 2);
}

#[test]
fn a_packed_row_keeps_examples_apart() {
    let dataset = tokens(&[4, 3, 3]);
    let mut stream = batches(&dataset, options(1, Some(12), None), Position::default());
    let batch = stream.next_batch().unwrap();
    assert_eq!((batch.rows, batch.length, batch.last_of_epoch), (1, 12, true));
    assert_eq!(
        batch.segments.as_deref(),
        Some(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3][..])
    );
    assert_eq!(batch.positions, [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 0, 1]);
    let id = |record: i32, at: i32| record * 31 + at + 3;
    let masked = IGNORED;
    let expected = [
        [id(0, 1), id(0, 2), id(0, 3), masked],
        [id(1, 1), id(1, 2), masked, masked],
        [id(2, 2), masked, masked, masked],
    ];
    assert_eq!(batch.labels, expected.concat());
}

#[test]
fn packing_leaves_little_room() {
    let lengths: Vec<usize> = (0..2000).map(|record| 8 + record * 37 % 90).collect();
    let dataset = tokens(&lengths);
    let all = epoch(&mut batches(
        &dataset,
        options(4, Some(128), Some(1)),
        Position::default(),
    ));
    let tokens: usize = all.iter().map(|batch| batch.tokens).sum();
    let cells: usize = all.iter().map(|batch| batch.rows * batch.length).sum();
    assert!(tokens * 100 > cells * 97, "{tokens} of {cells}");
    let padded = epoch(&mut batches(
        &dataset,
        options(4, None, Some(1)),
        Position::default(),
    ));
    let cells: usize = padded.iter().map(|batch| batch.rows * batch.length).sum();
    assert!(tokens * 100 > cells * 93, "length buckets: {tokens} of {cells}");
}

#[test]
fn rows_are_not_padded_past_the_longest_allowed() {
    let dataset = tokens(&[50, 60]);
    let options = BatchOptions {
        pad_to_multiple_of: 64,
        ..options(2, None, None)
    };
    let mut stream = Batches::new(dataset, encoder(Some(55)), options, Position::default()).unwrap();
    assert_eq!(stream.next_batch().unwrap().length, 55);
}

#[test]
fn errors_have_their_place() {
    let text = "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n";
    let dataset = Arc::new(Dataset::from_bytes("d.jsonl", text.as_bytes(), None).unwrap());
    let error = batches(&dataset, options(2, None, None), Position::default())
        .next_batch()
        .unwrap_err();
    assert!(error.to_string().starts_with("d.jsonl:2: "), "{error}");
    let text = "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 99999]}\n";
    let dataset = Arc::new(Dataset::from_bytes("d.jsonl", text.as_bytes(), None).unwrap());
    let error = batches(&dataset, options(2, None, None), Position::default())
        .next_batch()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("d.jsonl:2: token id or label 99999"),
        "{error}"
    );
    let nothing = tokens(&[1, 1, 1]);
    let error = batches(&nothing, options(2, None, None), Position::default())
        .next_batch()
        .unwrap_err();
    assert!(
        matches!(error, BatchError::NothingTrained { records: 3, .. }),
        "{error}"
    );
    let position = Position {
        window: 4,
        ..Position::default()
    };
    let error = Batches::new(nothing, encoder(None), options(2, None, None), position).unwrap_err();
    assert!(matches!(error, BatchError::Position { .. }), "{error}");
    let position = Position {
        batch: 1,
        ..Position::default()
    };
    let error = batches(&tokens(&[3]), options(2, None, None), position)
        .next_batch()
        .unwrap_err();
    assert!(matches!(error, BatchError::Position { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Over two epochs, padded or packed, shuffled or not, each record comes once an epoch, unchanged; and a
    /// stream that is resumed at any batch gives the same batches as one that was never broken.
    #[test]
    fn nothing_is_lost_and_resuming_changes_nothing(
        lengths in prop::collection::vec(1..20_usize, 1..300),
        batch_size in 1..5_usize,
        packing in prop::option::of(8..32_usize),
        shuffle in prop::option::of(any::<u64>()),
        from in any::<prop::sample::Index>(),
    ) {
        let dataset = tokens(&lengths);
        let options = options(batch_size, packing, shuffle);
        let Ok(_) = batches(&dataset, options, Position::default()).next_batch() else { return Ok(()) };
        let mut stream = batches(&dataset, options, Position::default());
        let (mut all, mut positions) = (Vec::new(), Vec::new());
        for number in 0..2 {
            let mut whole = Vec::new();
            loop {
                positions.push(stream.position().clone());
                whole.push(stream.next_batch().unwrap());
                let last = &whole[whole.len() - 1];
                prop_assert_eq!(last.epoch, number);
                prop_assert_eq!(last.segments.is_some(), packing.is_some());
                if last.last_of_epoch {
                    assert_whole(&dataset, &whole);
                    prop_assert_eq!(stream.count(number).unwrap(), whole.len());
                    break;
                }
                prop_assert_eq!(last.rows, batch_size);
            }
            all.extend(whole);
        }
        let from = from.index(all.len());
        let saved = serde_json::to_string(&positions[from]).unwrap();
        let mut resumed = batches(&dataset, options, serde_json::from_str(&saved).unwrap());
        for batch in &all[from..] {
            prop_assert_eq!(&resumed.next_batch().unwrap(), batch);
        }
        prop_assert_eq!(resumed.next_batch().unwrap(), stream.next_batch().unwrap());
        prop_assert_eq!(resumed.position(), stream.position());
    }
}
