use super::*;
use crate::events::{EvalMetric, StepMetric};

/// What TensorBoard's own writer wrote (tests/fixtures/tensorboard).
const WRITTEN: &[u8] = include_bytes!("../../tests/fixtures/tensorboard/events.tfevents");

fn step(step: usize) -> Metric {
    Metric::Step(StepMetric {
        step,
        loss: Some(2.25),
        grad_norm: Some(0.5),
        lr: 1e-3,
        tokens: 100,
        input_tokens: 120,
        seconds: 0.5,
        skipped: false,
    })
}

fn eval(step: usize) -> Metric {
    Metric::Eval(EvalMetric {
        step,
        eval_loss: 0.0,
        eval_tokens: 7,
    })
}

/// All events of a file; nothing may be left over.
fn events(bytes: &[u8]) -> Vec<Event> {
    let (mut at, mut events) = (0, Vec::new());
    while let Some((data, length)) = record::first(&bytes[at..]) {
        events.push(Event::decode(data).unwrap());
        at += length;
    }
    assert_eq!(at, bytes.len());
    events
}

#[test]
fn the_bytes_are_those_of_tensorboards_own_writer() {
    let ours: Vec<u8> = [
        Event::version(1.5),
        Event::metric(2.5, &step(1)),
        Event::metric(3.5, &eval(300)),
    ]
    .iter()
    .flat_map(Event::to_record)
    .collect();
    assert_eq!(ours, WRITTEN);
}

#[test]
fn numbers_that_are_not_finite_are_left_out() {
    let Metric::Step(metric) = step(4) else {
        unreachable!()
    };
    let skipped = Metric::Step(StepMetric {
        loss: None,
        grad_norm: Some(f32::INFINITY),
        skipped: true,
        ..metric
    });
    let summary = Event::metric(0.0, &skipped).summary.unwrap();
    let tags: Vec<&str> = summary.value.iter().map(|value| value.tag.as_str()).collect();
    assert_eq!(tags, ["train/learning_rate", "train/tokens_per_second"]);
}

#[test]
fn a_record_with_a_flipped_bit_is_none() {
    for at in 0..WRITTEN.len() {
        let mut bytes = WRITTEN.to_vec();
        bytes[at] ^= 4;
        assert!(kept_bytes(&bytes, 300) < WRITTEN.len(), "byte {at}");
    }
    assert_eq!(kept_bytes(WRITTEN, 300), WRITTEN.len());
}

#[test]
fn a_run_that_goes_on_tells_no_step_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = EventFile::open(folder.path(), 0).unwrap();
    for metric in [step(1), step(2), eval(2), step(3)] {
        file.record(&metric).unwrap();
    }
    let path = file.path.clone();
    // A killed run leaves a record cut off.
    let cut = fs::metadata(&path).unwrap().len() - 5;
    file.file.set_len(cut).unwrap();
    drop(file);
    for metric in [step(3), eval(4)] {
        let mut file = EventFile::open(folder.path(), 2).unwrap();
        assert_eq!(file.path, path);
        file.record(&metric).unwrap();
    }
    let events = events(&fs::read(&path).unwrap());
    let steps: Vec<i64> = events.iter().map(|event| event.step).collect();
    assert_eq!(steps, [0, 1, 2, 2, 4]);
    assert_eq!(events[0].file_version.as_deref(), Some(VERSION));
    let value = |event: &Event| event.summary.as_ref().unwrap().value[0].clone();
    assert_eq!(value(&events[1]).simple_value, Some(2.25));
    assert_eq!(value(&events[4]).tag, "eval/loss");
}
