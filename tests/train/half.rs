//! Training with 16-bit weights and activations.

use std::ops::ControlFlow;
use std::path::Path;

use anylora_data::{Batch, Position};
use anylora_engine::{Backend, DType, DeviceSpec, Weight};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::{OpenOptions, Wgpu};
use anylora_train::{
    Dtype, Event, Quant, RunFolder, State, Summary, TrainConfig, TrainError, Trainer, adapter_file, run,
    snapshot,
};
use pollster::block_on;

use crate::setup::{batches, config, flat, trainer};

fn software() -> Wgpu {
    block_on(Wgpu::open(DeviceSpec::Software, OpenOptions::default()))
        .expect("a software adapter: `scripts/setup` installs lavapipe")
}

fn with(dtype: Dtype, quant: Quant) -> TrainConfig {
    TrainConfig {
        dtype,
        quant,
        lr: 5e-3,
        ..config()
    }
}

fn batch() -> Batch {
    batches(&config(), Position::default()).next_batch().unwrap()
}

/// Losses of 12 steps on one batch.
fn losses<B: Backend>(trainer: &mut Trainer<B>) -> Vec<f32> {
    let batch = [batch()];
    (0..12)
        .map(|_| {
            let metric = block_on(trainer.step(&batch)).unwrap();
            assert!(!metric.skipped, "{metric:?}");
            metric.loss.unwrap()
        })
        .collect()
}

/// A weight or an activation is off by 2^-11 of its size, and a loss is a mean over many: a hundredth is far above that
/// and far below what twelve steps gain.
#[track_caller]
fn falls_like(found: &[f32], expected: &[f32]) {
    assert!(expected[11] < 0.9 * expected[0], "{expected:?}");
    let off = |(found, expected): (&f32, &f32)| (found / expected - 1.0).abs();
    let worst = found.iter().zip(expected).map(off).fold(0.0, f32::max);
    println!("losses are off by at most {worst:e}");
    assert!(worst > 0.0 && worst < 1e-2, "{found:?}, expected {expected:?}");
}

#[test]
fn twelve_steps_in_f16_go_like_those_in_f32() {
    let gpu = software();
    assert!(gpu.caps().has_activation(DType::F16), "lavapipe has f16");
    for quant in [Quant::None, Quant::Nf4] {
        let expected = losses(&mut trainer(&gpu, &with(Dtype::F32, quant), 12));
        let mut half = trainer(&gpu, &with(Dtype::F16, quant), 12);
        assert!(matches!(&half.model().embed_tokens, Weight::Dense(table) if table.dtype() == DType::F16));
        assert_eq!(half.model().activation, DType::F16);
        assert_eq!(half.progress().loss_scale, 65_536.0);
        falls_like(&losses(&mut half), &expected);
    }
}

/// Weights in 16 bits with activations in f32, where the device has no f16 or bf16 was asked for.
#[test]
fn sixteen_bit_weights_alone_need_no_loss_scale() {
    let cpu = Cpu::new(None);
    let expected = losses(&mut trainer(&cpu, &with(Dtype::F32, Quant::None), 12));
    for (dtype, stored) in [(Dtype::F16, DType::F16), (Dtype::Bf16, DType::BF16)] {
        let mut half = trainer(&cpu, &with(dtype, Quant::None), 12);
        assert!(matches!(&half.model().embed_tokens, Weight::Dense(table) if table.dtype() == stored));
        assert_eq!(
            (half.model().activation, half.progress().loss_scale),
            (DType::F32, 1.0)
        );
        falls_like(&losses(&mut half), &expected);
    }
}

#[test]
fn an_overflow_leaves_the_step_out_and_halves_the_scale() {
    let mut trainer = trainer(&software(), &with(Dtype::F16, Quant::Nf4), 12);
    let before = flat(&trainer);
    trainer.progress_mut().loss_scale = 2f32.powi(40);
    let batch = [batch()];
    let metric = block_on(trainer.step(&batch)).unwrap();
    assert!(
        metric.skipped && metric.loss.is_some() && metric.grad_norm.is_none(),
        "{metric:?}"
    );
    assert!(flat(&trainer) == before);
    let progress = trainer.progress();
    assert_eq!(
        (progress.step, progress.updates, progress.loss_scale),
        (1, 0, 2f32.powi(39))
    );
    trainer.progress_mut().loss_scale = 65_536.0;
    assert!(!block_on(trainer.step(&batch)).unwrap().skipped);
    assert!(flat(&trainer) != before);
    assert_eq!(
        (trainer.progress().updates, trainer.progress().skipped_in_a_row),
        (1, 0)
    );
}

/// A run that trains two steps and then gets a loss scale that no halving brings down soon enough.
fn overflowing(out: &Path, events: &mut Vec<Event>) -> Result<Summary, TrainError> {
    let config = TrainConfig {
        save_every: 1,
        ..with(Dtype::F16, Quant::Nf4)
    };
    let gpu = software();
    let mut trainer = trainer(&gpu, &config, 40);
    let mut folder = RunFolder::create(out, &config).unwrap();
    let targets = trainer.parameters().targets().to_vec();
    let write = |path: &Path, values: &[[Vec<f32>; 2]]| {
        adapter_file::to_adapter(&config, &targets, values)
            .write(path)
            .map_err(Into::into)
    };
    let mut source = batches(&config, Position::default());
    let stop_at_2 = &mut |event: &Event| match event {
        Event::Step { metric, .. } if metric.step == 2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    block_on(run(
        &mut trainer,
        &mut folder,
        &mut source,
        &[],
        &write,
        stop_at_2,
    ))
    .unwrap();
    trainer.progress_mut().loss_scale = 2f32.powi(100);
    block_on(run(
        &mut trainer,
        &mut folder,
        &mut source,
        &[],
        &write,
        &mut |event| {
            events.push(event.clone());
            ControlFlow::Continue(())
        },
    ))
}

#[test]
fn ten_overflows_in_a_row_end_the_run_and_keep_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut events = Vec::new();
    let error = overflowing(&out, &mut events).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { step: 12 }), "{error}");
    let scales: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Skipped {
                in_a_row, loss_scale, ..
            } => Some((*in_a_row, loss_scale.unwrap())),
            _ => None,
        })
        .collect();
    // The tenth is the error itself.
    let halved: Vec<_> = (1..10).map(|i| (i, 2f32.powi(100 - i as i32))).collect();
    assert_eq!(scales, halved);
    let (path, progress) = snapshot::newest(&out).unwrap();
    assert_eq!((progress.step, progress.updates), (2, 2));
    let fresh = trainer(&software(), &with(Dtype::F16, Quant::Nf4), 40);
    snapshot::load(&path, fresh.parameters()).unwrap();
    let stored = block_on(fresh.parameters().download(State::Param)).unwrap();
    assert!(stored.iter().flatten().flatten().all(|value| value.is_finite()));
}
