//! A real model: 20 AdamW steps of LoRA and QLoRA on SmolLM2-135M-Instruct against PEFT's (`tests/fixtures/smollm2`),
//! and the first two of them on software Vulkan.
//!
//! `scripts/fetch-smollm2 smollm2-q4_1` puts the model where these tests look; they are slow without optimization:
//! `cargo test --release -p anylora-train --test smollm2 -- --ignored`. With `ANYLORA_DEVICE=cuda` or `vulkan:0` those
//! named `equals_peft` run on that GPU in the place of the CPU engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anylora_checkpoint::{Checkpoint, TargetModules};
use anylora_data::Batch;
use anylora_engine::{Backend, DeviceSpec, Side};
use anylora_engine_burn::Cpu;
use anylora_engine_cuda::Cuda;
use anylora_engine_wgpu::{OpenOptions, Wgpu};
use anylora_models::Loader;
use anylora_train::{PeakBytes, Quant, Schedule, State, Target, TrainConfig, Trainer, plan};
use pollster::block_on;
use safetensors::SafeTensors;

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

fn checkpoint() -> Checkpoint {
    let path = std::env::var_os("ANYLORA_SMOLLM2").map_or_else(
        || {
            let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
                || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"),
                PathBuf::from,
            );
            cache.join("anylora/models").join(FILE)
        },
        PathBuf::from,
    );
    Checkpoint::open(&path).unwrap()
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/smollm2");
    std::fs::read(folder.join(name)).unwrap()
}

/// The 20 recorded batches.
fn batches() -> Vec<Batch> {
    let bytes = fixture("batches.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor("input_ids").unwrap();
    let (rows, time) = (view.shape()[1], view.shape()[2]);
    let ids: Vec<i64> = bytemuck::pod_collect_to_vec(view.data());
    let ids: Vec<u32> = ids.into_iter().map(|id| u32::try_from(id).unwrap()).collect();
    ids.chunks(rows * time).map(|ids| batch(ids, rows)).collect()
}

/// Rows of one length in which every token is trained.
fn batch(ids: &[u32], rows: usize) -> Batch {
    let time = ids.len() / rows;
    let label = |at: usize| match at % time + 1 < time {
        true => ids[at + 1] as i32,
        false => -100,
    };
    Batch {
        input_ids: ids.to_vec(),
        labels: (0..ids.len()).map(label).collect(),
        positions: (0..ids.len()).map(|at| (at % time) as u32).collect(),
        rows,
        length: time,
        trained_tokens: rows * (time - 1),
        tokens: ids.len(),
        ..Batch::default()
    }
}

/// The WGSL kernels on software Vulkan.
fn software() -> Wgpu {
    let gpu = block_on(Wgpu::open(DeviceSpec::Software, OpenOptions::default()));
    gpu.expect("a software adapter: `scripts/setup` installs lavapipe")
}

/// The recorded runs' settings.
fn config(quant: Quant) -> TrainConfig {
    TrainConfig {
        quant,
        rank: 16,
        alpha: 32.0,
        target_modules: TargetModules::List(vec!["q_proj".to_owned(), "v_proj".to_owned()]),
        lr: 2e-4,
        schedule: Schedule::Constant,
        warmup_steps: Some(0),
        clip: 0.0,
        max_length: 64,
        ..TrainConfig::default()
    }
}

/// A file of f32 matrices, by PEFT's names.
fn matrices(name: &str) -> HashMap<String, Vec<f32>> {
    let bytes = fixture(name);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, bytemuck::pod_collect_to_vec(view.data())))
        .collect()
}

fn name(target: &Target, side: Side) -> String {
    format!("base_model.model.{}.lora_{side:?}.weight", target.module)
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// The highest resident memory of this process so far, in bytes, where the system tells.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Steps of 4 rows of 128 tokens: a real model takes the planned memory. Prints what benches/RESULTS.md quotes; the
/// resident memory is of this process alone where one test runs alone.
fn steps_of_4_by_128(quant: Quant, recompute: bool) {
    let config = TrainConfig {
        batch_size: 4,
        max_length: 128,
        packing: false,
        recompute,
        ..config(quant)
    };
    let backend = Cpu::new(None);
    let checkpoint = checkpoint();
    let options = plan::load_options(&config, &backend);
    let model = Loader::load(&backend, &checkpoint, options, |_, _| {}).unwrap();
    let mut trainer = Trainer::new(model, config.clone(), 4, None).unwrap();
    let loaded = peak_resident_bytes();
    let ids: Vec<u32> = batches().into_iter().flat_map(|batch| batch.input_ids).collect();
    let mut seconds = Vec::new();
    for ids in ids.chunks_exact(512).take(4) {
        let start = std::time::Instant::now();
        let metric = block_on(trainer.step(&[batch(ids, 4)])).unwrap();
        seconds.push(start.elapsed().as_secs_f64());
        assert!(metric.loss.is_some_and(|loss| loss < 6.0), "{metric:?}");
    }
    println!(
        "{quant}, recompute {recompute}: {seconds:.2?} s; resident {loaded:?} after loading, {:?} at most",
        peak_resident_bytes()
    );
    let planned = plan::plan_checkpoint(&checkpoint, &config, *backend.caps()).unwrap();
    let found = PeakBytes::from(&backend.ledger().report());
    println!("device memory {found:?}");
    assert_eq!(planned.peak_device_bytes, found);
}

/// The first steps of a recorded run: each loss within 5e-4 of PEFT's, each gradient norm within 1e-3.
fn steps_equal_peft<B: Backend>(backend: &B, record: &str, quant: Quant, steps: usize) -> Trainer<B> {
    let config = config(quant);
    let options = plan::load_options(&config, backend);
    let model = Loader::load(backend, &checkpoint(), options, |_, _| {}).unwrap();
    // B starts as zeros, and only A is in the file.
    let start = matrices("adapter_init_qv.safetensors");
    let initial = |target: &Target, side| match side {
        Side::A => start[&name(target, side)].clone(),
        Side::B => vec![0.0; target.out_features * target.rank],
    };
    let mut trainer = Trainer::new(model, config, 20, Some(&initial)).unwrap();
    let recorded: serde_json::Value = serde_json::from_slice(&fixture(&format!("{record}.json"))).unwrap();
    let mut furthest: [f64; 2] = [0.0; 2];
    for (step, batch) in batches().into_iter().take(steps).enumerate() {
        let start = std::time::Instant::now();
        let metric = block_on(trainer.step(&[batch])).unwrap();
        println!("{record}, step {step}: {:.1} s", start.elapsed().as_secs_f64());
        for (index, (name, found, tolerance)) in [
            ("losses", metric.loss, 5e-4),
            ("grad_norms", metric.grad_norm, 1e-3),
        ]
        .into_iter()
        .enumerate()
        {
            let (found, expected) = (found.unwrap(), recorded[name][step].as_f64().unwrap());
            let off = (f64::from(found) / expected - 1.0).abs();
            furthest[index] = furthest[index].max(off);
            assert!(
                off <= tolerance,
                "{record}, step {step}: {name} {found}, expected {expected}"
            );
        }
    }
    let [loss, norm] = furthest;
    println!("{record}: losses are off by at most {loss:e}, gradient norms by {norm:e}");
    trainer
}

/// On the device that `ANYLORA_DEVICE` names, or on the CPU engine.
fn twenty_steps_equal_peft(record: &str, quant: Quant) {
    let name = std::env::var("ANYLORA_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    match name.parse().unwrap() {
        DeviceSpec::Cpu => twenty_steps_on(&Cpu::new(None), record, quant),
        DeviceSpec::Cuda(index) => {
            let gpu = Cuda::open(index, anylora_engine_cuda::OpenOptions::default());
            twenty_steps_on(&gpu.unwrap_or_else(|error| panic!("{error}")), record, quant);
        }
        spec => {
            let gpu = block_on(Wgpu::open(spec, OpenOptions::default()));
            twenty_steps_on(&gpu.unwrap_or_else(|error| panic!("{error}")), record, quant);
        }
    }
}

fn twenty_steps_on<B: Backend>(backend: &B, record: &str, quant: Quant) {
    println!("on {}", backend.info().name);
    let trainer = steps_equal_peft(backend, record, quant, 20);
    let expected = matrices(&format!("{record}_final.safetensors"));
    let found = block_on(trainer.parameters().download(State::Param)).unwrap();
    let mut compared = 0;
    let (mut differences, mut all) = (Vec::new(), Vec::new());
    for (target, sides) in trainer.parameters().targets().iter().zip(&found) {
        for (side, found) in [Side::A, Side::B].into_iter().zip(sides) {
            let Some(expected) = expected.get(&name(target, side)) else {
                continue;
            };
            assert_eq!(found.len(), expected.len());
            let difference = || {
                found
                    .iter()
                    .zip(expected)
                    .map(|(found, expected)| found - expected)
            };
            let off = norm(difference()) / norm(expected.iter().copied());
            assert!(
                off <= 1e-2,
                "{record}: {} {side:?} is off by {off:e}",
                target.module
            );
            differences.extend(difference());
            all.extend(expected);
            compared += 1;
        }
    }
    assert_eq!(compared, expected.len());
    let off = norm(differences.into_iter()) / norm(all.into_iter());
    println!("{record}: {compared} matrices of the final adapter are off by {off:e} together");
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn lora_equals_peft() {
    twenty_steps_equal_peft("lora_f32_qv", Quant::None);
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn qlora_equals_peft_with_bitsandbytes() {
    twenty_steps_equal_peft("qlora_nf4dq_qv", Quant::Nf4);
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn two_steps_of_lora_on_wgpu_equal_peft() {
    steps_equal_peft(&software(), "lora_f32_qv", Quant::None, 2);
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn two_steps_of_qlora_on_wgpu_equal_peft_with_bitsandbytes() {
    steps_equal_peft(&software(), "qlora_nf4dq_qv", Quant::Nf4, 2);
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn a_step_of_lora_takes_the_planned_memory() {
    steps_of_4_by_128(Quant::None, false);
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn a_step_of_qlora_takes_the_planned_memory() {
    steps_of_4_by_128(Quant::Nf4, false);
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn a_step_of_qlora_with_recompute_takes_the_planned_memory() {
    steps_of_4_by_128(Quant::Nf4, true);
}

/// The planned peak is the ledger's on wgpu too, byte for byte: LoRA and QLoRA, recompute on and off, two lengths.
#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets, and takes a step of it on software Vulkan"]
fn a_step_on_wgpu_takes_the_planned_memory() {
    let backend = block_on(Wgpu::open(DeviceSpec::Software, OpenOptions::default()))
        .expect("a software adapter: `scripts/setup` installs lavapipe");
    let checkpoint = checkpoint();
    for quant in [Quant::None, Quant::Nf4] {
        for (recompute, max_length) in [(true, 16), (true, 40), (false, 16), (false, 40)] {
            let config = TrainConfig {
                batch_size: 1,
                max_length,
                packing: false,
                recompute,
                target_modules: TargetModules::AllLinear,
                rank: 8,
                ..config(quant)
            };
            assert_eq!(backend.ledger().report().live, 0);
            backend.ledger().reset_peak();
            let options = plan::load_options(&config, &backend);
            let model = Loader::load(&backend, &checkpoint, options, |_, _| {}).unwrap();
            let mut trainer = Trainer::new(model, config.clone(), 1, None).unwrap();
            let ids = &batches()[0].input_ids[..max_length];
            let start = std::time::Instant::now();
            let metric = block_on(trainer.step(&[batch(ids, 1)])).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            assert!(metric.loss.is_some_and(|loss| loss < 7.0), "{metric:?}");
            let planned = plan::plan_checkpoint(&checkpoint, &config, *backend.caps()).unwrap();
            let found = PeakBytes::from(&backend.ledger().report());
            println!(
                "{quant}, recompute {recompute}, {max_length} tokens: {} bytes, {seconds:.1} s",
                found.total
            );
            assert_eq!(
                planned.peak_device_bytes, found,
                "{quant}, recompute {recompute}, {max_length} tokens"
            );
        }
    }
}
