//! Twelve AdamW steps of LoRA and QLoRA against PEFT's.

use std::collections::HashMap;

use anylora_checkpoint::TargetModules;
use anylora_data::Batch;
use anylora_engine::{Backend, Side};
use anylora_train::{Quant, Schedule, State, TrainConfig, Trainer, plan};
use pollster::block_on;
use safetensors::SafeTensors;

use crate::engines::on_engines;
use crate::goldens::{Goldens, TINY, distance, folder, load, values};

/// Tensors by name, all f32.
type Floats = HashMap<String, Vec<f32>>;

fn read(name: &str, file: &str) -> Floats {
    let bytes = std::fs::read(folder(name).join("reference").join(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: safetensors::tensor::TensorView<'_>| bytemuck::pod_collect_to_vec(view.data());
    tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, values(view)))
        .collect()
}

/// `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`, with or without the adapter's name in it.
fn matrix<'a>(floats: &'a Floats, module: &str, side: Side) -> &'a [f32] {
    let side = match side {
        Side::A => "lora_A",
        Side::B => "lora_B",
    };
    let mut found = floats
        .iter()
        .filter(|(name, _)| name.contains(&format!("{module}.{side}.")))
        .map(|(_, values)| values);
    let values = found.next().unwrap_or_else(|| panic!("{module}.{side}"));
    assert!(found.next().is_none());
    values
}

/// `|found - expected| / |expected|` in the L2 norm.
fn l2_distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values
            .map(|value| f64::from(value) * f64::from(value))
            .sum::<f64>()
            .sqrt()
    };
    let difference = norm(
        &mut found
            .iter()
            .zip(expected)
            .map(|(found, expected)| found - expected),
    );
    difference / norm(&mut expected.iter().copied()).max(1e-30)
}

/// The config of the recorded runs.
fn config(name: &str, quant: Quant, recompute: bool) -> TrainConfig {
    TrainConfig {
        quant,
        rank: 8,
        alpha: 16.0,
        target_modules: if name == "tiny-mistral" {
            TargetModules::List(vec!["q_proj".to_owned(), "v_proj".to_owned()])
        } else {
            TargetModules::AllLinear
        },
        lr: 1e-3,
        schedule: Schedule::Constant,
        warmup_steps: Some(0),
        clip: 0.0,
        max_length: 48,
        recompute,
        ..TrainConfig::default()
    }
}

/// Batch `index` of the recorded ones: every token is trained.
pub fn batches(name: &str) -> Vec<Batch> {
    let goldens = Goldens::open(name, "batches.safetensors");
    let (shape, ids) = goldens.ids("input_ids");
    let (rows, time) = (shape[1], shape[2]);
    ids.chunks(rows * time)
        .map(|ids| Batch {
            input_ids: ids.to_vec(),
            labels: (0..rows * time)
                .map(|at| {
                    if (at + 1) % time == 0 {
                        -100
                    } else {
                        ids[at + 1] as i32
                    }
                })
                .collect(),
            positions: (0..rows * time).map(|at| (at % time) as u32).collect(),
            rows,
            length: time,
            trained_tokens: rows * (time - 1),
            tokens: rows * time,
            ..Batch::default()
        })
        .collect()
}

/// A trainer that starts where the recorded run did.
pub fn trainer<B: Backend>(backend: &B, name: &str, quant: Quant, recompute: bool) -> Trainer<B> {
    let config = config(name, quant, recompute);
    let model = load(backend, name, plan::load_options(&config, backend));
    let start = read(name, "adapter_init/adapter_model.safetensors");
    let initial = |target: &anylora_train::Target, side| matrix(&start, &target.module, side).to_vec();
    Trainer::new(model, config, 12, Some(&initial)).unwrap()
}

fn twelve_steps_equal_peft<B: Backend>(backend: &B) {
    for name in TINY {
        for (record, quant) in [("lora_f32", Quant::None), ("qlora_nf4dq", Quant::Nf4)] {
            let what = format!("{name}, {record}");
            let mut trainer = trainer(backend, name, quant, true);
            let json =
                std::fs::read_to_string(folder(name).join("reference").join(record).with_extension("json"));
            let recorded: serde_json::Value = serde_json::from_str(&json.unwrap()).unwrap();
            let batches = batches(name);
            for (step, batch) in batches.iter().enumerate() {
                let metric = block_on(trainer.step(std::slice::from_ref(batch))).unwrap();
                let expected = &recorded["steps"][step];
                for (field, found) in [("loss", metric.loss), ("grad_norm", metric.grad_norm)] {
                    let (found, expected) = (f64::from(found.unwrap()), expected[field].as_f64().unwrap());
                    let off = (found / expected - 1.0).abs();
                    assert!(
                        off <= 1e-4,
                        "{what}, step {step}: {field} {found}, expected {expected}"
                    );
                }
                if step == 1 {
                    let expected = read(name, &format!("{record}_grads_step1.safetensors"));
                    let grads = block_on(trainer.parameters().download_grads()).unwrap();
                    for (target, grads) in trainer.parameters().targets().iter().zip(grads) {
                        for (side, grad) in [Side::A, Side::B].into_iter().zip(grads) {
                            let off = l2_distance(&grad, matrix(&expected, &target.module, side));
                            assert!(
                                off <= 1e-4,
                                "{what}: gradient of {} {side:?} is off by {off:e}",
                                target.module
                            );
                        }
                    }
                }
            }
            let expected = read(name, &format!("{record}_adapter_final/adapter_model.safetensors"));
            let found = block_on(trainer.parameters().download(State::Param)).unwrap();
            for (target, matrices) in trainer.parameters().targets().iter().zip(found) {
                for (side, values) in [Side::A, Side::B].into_iter().zip(matrices) {
                    let off = l2_distance(&values, matrix(&expected, &target.module, side));
                    assert!(
                        off <= 2e-3,
                        "{what}: {} {side:?} is off by {off:e}",
                        target.module
                    );
                }
            }
            let model = trainer.model();
            let context = model
                .context([batches[0].rows, batches[0].length], None, None)
                .unwrap();
            let hidden = model
                .forward(
                    &batches[0].input_ids,
                    &context,
                    Some(trainer.adapters()),
                    |_, _| {},
                )
                .unwrap();
            let logits = values(&model.logits(&hidden).unwrap());
            let expected = read(name, &format!("{record}_final_logits.safetensors"));
            let off = distance(&logits, expected.values().next().unwrap());
            assert!(off <= 1e-3, "{what}: final logits are off by {off:e}");
        }
    }
}

fn recompute_changes_no_bit<B: Backend>(backend: &B) {
    for name in ["tiny-llama", "tiny-qwen3"] {
        let mut results = Vec::new();
        for recompute in [true, false] {
            let mut trainer = trainer(backend, name, Quant::Nf4, recompute);
            for batch in &batches(name)[..2] {
                block_on(trainer.step(std::slice::from_ref(batch))).unwrap();
            }
            results.push(block_on(trainer.parameters().download(State::Param)).unwrap());
        }
        assert!(results[0] == results[1], "{name}");
    }
}

on_engines!(twelve_steps_equal_peft, recompute_changes_no_bit);
