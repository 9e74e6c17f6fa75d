//! A run that stops and goes on ends with the bits of one that never stopped.

use std::ops::ControlFlow;
use std::path::Path;

use anylora_checkpoint::Adapter;
use anylora_data::Position;
use anylora_engine::{Backend, DeviceSpec};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::{OpenOptions, Wgpu};
use anylora_train::{Event, RunFolder, Summary, TrainConfig, adapter_file, run, snapshot};
use pollster::block_on;

use crate::setup::{batches, config, flat, trainer};

const STEPS: usize = 7;

/// Runs until the end or until after step `stop`; goes on from the newest checkpoint where there is one.
fn train<B: Backend>(
    backend: &B,
    config: &TrainConfig,
    out: &Path,
    stop: Option<usize>,
) -> (Vec<f32>, Summary) {
    let mut trainer = trainer(backend, config, STEPS);
    let mut position = Position::default();
    let mut folder = match snapshot::newest(out) {
        Ok((path, progress)) => {
            snapshot::load(&path, trainer.parameters()).unwrap();
            position = progress.position.clone();
            let folder = RunFolder::resume(out, config, progress.step).unwrap();
            *trainer.progress_mut() = progress;
            folder
        }
        Err(_) => RunFolder::create(out, config).unwrap(),
    };
    let targets = trainer.parameters().targets().to_vec();
    let write = |path: &Path, values: &[[Vec<f32>; 2]]| {
        adapter_file::to_adapter(config, &targets, values)
            .write(path)
            .map_err(Into::into)
    };
    let held_out = [batches(config, Position::default()).next_batch().unwrap()];
    let summary = block_on(run(
        &mut trainer,
        &mut folder,
        &mut batches(config, position),
        &held_out,
        &write,
        &mut |event| match event {
            Event::Step { metric, .. } if Some(metric.step) == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        },
    ));
    (flat(&trainer), summary.unwrap())
}

fn resumed_equals_unbroken<B: Backend>(backend: &B) {
    for packing in [true, false] {
        let config = TrainConfig {
            packing,
            grad_accum: 2,
            eval_every: 3,
            save_every: 2,
            ..config()
        };
        let folder = tempfile::tempdir().unwrap();
        let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
        let (expected, summary) = train(backend, &config, &whole, None);
        assert!(!summary.interrupted && summary.steps == STEPS);
        for stop in [1, 4] {
            assert!(train(backend, &config, &broken, Some(stop)).1.interrupted);
        }
        // What a killed run leaves: a line cut off, a folder half written, steps after the last checkpoint.
        let metrics = broken.join("metrics.jsonl");
        let text = std::fs::read_to_string(&metrics).unwrap();
        std::fs::write(&metrics, format!("{text}{{\"step\": 5, \"lo")).unwrap();
        std::fs::create_dir(broken.join("checkpoints/.writing-x")).unwrap();
        let (found, summary) = train(backend, &config, &broken, None);
        assert!(found == expected && summary.steps == STEPS, "packing {packing}");
        assert!(!broken.join("checkpoints/.writing-x").exists());
        let losses = |path: &Path| -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
            let line = |line| {
                let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
                value.as_object_mut().unwrap().remove("seconds");
                value
            };
            text.lines().map(line).collect()
        };
        assert_eq!(losses(&broken), losses(&whole));
        let adapter = |path: &Path| Adapter::open(&path.join("adapter")).unwrap();
        assert_eq!(adapter(&broken), adapter(&whole));
        assert!(
            std::fs::read_to_string(whole.join("loss.svg"))
                .unwrap()
                .contains("</svg>")
        );
    }
}

#[test]
fn resumed_equals_unbroken_on_the_cpu() {
    resumed_equals_unbroken(&Cpu::new(None));
}

#[test]
fn resumed_equals_unbroken_on_wgpu() {
    let gpu = block_on(Wgpu::open(DeviceSpec::Software, OpenOptions::default()));
    resumed_equals_unbroken(&gpu.expect("a software adapter: `scripts/setup` installs lavapipe"));
}

#[test]
fn a_checkpoint_of_another_adapter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(&Cpu::new(None), &config(), folder.path(), Some(1));
    let (path, _) = snapshot::newest(folder.path()).unwrap();
    let other = TrainConfig { rank: 2, ..config() };
    let trainer = trainer(&Cpu::new(None), &other, STEPS);
    let error = snapshot::load(&path, trainer.parameters())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("state.safetensors") && error.contains("should be F32 [2,"),
        "{error}"
    );
}
