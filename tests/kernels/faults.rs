//! What goes wrong on a device in the middle of a step: the step's error, and nothing kept.

use std::collections::BTreeSet;

use anylora_engine::{Backend, DType, Error, Result};
use anylora_tests::{read, wgpu_with};

use crate::block::Block;

#[test]
fn a_step_without_memory_fails_and_frees_what_it_held() {
    frees_what_it_held(|| wgpu_with(|_| {}));
}

#[cfg(feature = "cuda")]
#[test]
fn so_it_does_on_cuda() {
    if anylora_tests::new_cuda().is_some() {
        frees_what_it_held(|| anylora_tests::new_cuda().unwrap());
    }
}

fn frees_what_it_held<B: Backend>(open: impl Fn() -> B) {
    let gpu = open();
    let block = Block::new(&gpu, DType::F32).unwrap();
    let before = gpu.ledger().report();
    let loss = read(&block.step().unwrap().loss);
    let peak = gpu.ledger().report().peak;
    assert!(peak > before.live);

    // From no room at all to one granule too little: many places fail.
    let (rooms, mut places) = (16, BTreeSet::new());
    for room in 0..=rooms {
        let limit = before.live + (peak - before.live - 16) * room / rooms;
        gpu.ledger().set_limit(Some(limit));
        match block.step() {
            Err(Error::OutOfMemory {
                requested,
                live,
                reason,
                ..
            }) => {
                assert!(
                    live <= limit && live + requested > limit,
                    "{live} + {requested} of {limit}"
                );
                assert!(reason.contains(&limit.to_string()), "{reason}");
                places.insert((live, requested));
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{limit} bytes were enough, and the peak is {peak}"),
        }
        let after = gpu.ledger().report();
        assert_eq!(
            (after.live, after.live_by_kind),
            (before.live, before.live_by_kind)
        );
    }

    assert!(places.len() > rooms as usize / 2, "{places:?}");

    // The same step with exactly enough, and as if nothing had been.
    gpu.ledger().set_limit(Some(peak));
    let again = Block::new(&open(), DType::F32).unwrap();
    assert_eq!(read(&again.step().unwrap().loss), loss);
    let retried = block.step().unwrap();
    assert!(read(&retried.loss).iter().all(|value| value.is_finite()));
    drop(retried);
    assert_eq!(gpu.ledger().report().live, before.live);
    drop(block);
    assert_eq!(gpu.ledger().report().live, 0);
}

#[track_caller]
fn lost<T>(result: Result<T>) {
    match result {
        Err(Error::DeviceLost(reason)) => assert!(!reason.is_empty()),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn a_device_lost_between_forward_and_backward() {
    let gpu = wgpu_with(|_| {});
    let block = Block::new(&gpu, DType::F32).unwrap();
    let before = gpu.ledger().report().live;
    let forward = block.forward().unwrap();
    gpu.destroy();
    lost(block.finish(forward));
    assert_eq!(gpu.ledger().report().live, before);
    lost(block.step());
    lost(Block::new(&gpu, DType::F32));
    lost(pollster::block_on(gpu.synchronize()));
    assert_eq!(gpu.ledger().report().live, before);
    drop(block);
    assert_eq!(gpu.ledger().report().live, 0);
}

#[test]
fn a_device_lost_while_steps_run() {
    for delay in [0, 5, 20, 60] {
        let gpu = wgpu_with(|_| {});
        let block = Block::new(&gpu, DType::F32).unwrap();
        let before = gpu.ledger().report().live;
        let other = gpu.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(delay));
            other.destroy();
        });
        let error = loop {
            let step = block
                .step()
                .and_then(|step| pollster::block_on(step.loss.to_f32()));
            match step {
                Ok(loss) => assert!(loss.iter().all(|value| value.is_finite())),
                Err(error) => break error,
            }
        };
        thread.join().unwrap();
        assert!(matches!(error, Error::DeviceLost(_)), "{error}");
        assert_eq!(gpu.ledger().report().live, before);
    }
}
