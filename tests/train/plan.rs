//! A plan is the trainer itself on a device that only counts: it equals the ledger of a real run byte for byte.

use anylora_checkpoint::Checkpoint;
use anylora_data::Batch;
use anylora_engine::{Backend, DeviceSpec};
use anylora_engine_wgpu::{OpenOptions, Wgpu};
use anylora_models::Loader;
use anylora_train::{Dtype, PeakBytes, Quant, TrainConfig, Trainer, plan};
use pollster::block_on;

use crate::setup::{config, folder};

/// Rows without padding, which is what is planned for.
fn full(config: &TrainConfig) -> Batch {
    let tokens = config.batch_size * config.max_length;
    Batch {
        rows: config.batch_size,
        length: config.max_length,
        input_ids: (0..tokens as u32).map(|i| 30 + 7 * i % 400).collect(),
        labels: (0..tokens as i32).map(|i| 30 + 11 * i % 400).collect(),
        positions: (0..tokens).map(|i| (i % config.max_length) as u32).collect(),
        segments: config.packing.then(|| vec![0; tokens]),
        trained_tokens: tokens,
        tokens,
        ..Batch::default()
    }
}

/// Loads, trains a step, and compares.
fn compare<B: Backend>(gpu: &B, name: &str, config: &TrainConfig) {
    let ledger = gpu.ledger();
    assert_eq!(ledger.report().live, 0);
    ledger.reset_peak();
    let checkpoint = Checkpoint::open(&folder().with_file_name(name)).unwrap();
    let options = plan::load_options(config, gpu);
    let model = Loader::load(gpu, &checkpoint, options, |_, _| {}).unwrap();
    let mut trainer = Trainer::new(model, config.clone(), 1, None).unwrap();
    let batches = vec![full(config); config.grad_accum];
    block_on(trainer.step(&batches)).unwrap();
    let found = PeakBytes::from(&ledger.report());
    let planned = plan::plan_checkpoint(&checkpoint, config, *gpu.caps()).unwrap();
    assert_eq!(planned.peak_device_bytes, found, "{name}, {config:?}");
    assert_eq!(planned.trainable_parameters, trainer.parameters().count());
    let sum: u64 = found.by_kind.values().sum();
    assert!(found.total == sum && found.by_kind["activations"] > 0);
}

fn software(options: OpenOptions) -> Wgpu {
    block_on(Wgpu::open(DeviceSpec::Software, options))
        .expect("a software adapter: `scripts/setup` installs lavapipe")
}

#[test]
fn a_plan_equals_the_ledger_byte_for_byte() {
    let gpu = software(OpenOptions::default());
    for name in [
        "tiny-llama",
        "tiny-mistral",
        "tiny-qwen2",
        "tiny-qwen3",
        "tiny-llama-bnb-nf4",
    ] {
        for quant in [Quant::None, Quant::Nf4] {
            for (recompute, max_length) in [(true, 3), (true, 20), (false, 3), (false, 20)] {
                let config = TrainConfig {
                    quant,
                    recompute,
                    max_length,
                    packing: max_length > 3,
                    ..config()
                };
                compare(&gpu, name, &config);
            }
        }
    }
}

#[test]
fn so_it_does_with_other_types_accumulation_and_small_bindings() {
    for max_binding_bytes in [None, Some(40 << 10)] {
        let gpu = software(OpenOptions {
            max_binding_bytes,
            ..OpenOptions::default()
        });
        for dtype in [Dtype::F16, Dtype::Bf16] {
            let config = TrainConfig {
                dtype,
                grad_accum: 2,
                double_quant: dtype == Dtype::F16,
                ..config()
            };
            compare(&gpu, "tiny-qwen2", &config);
        }
    }
}

/// On an NVIDIA GPU the plan is the ledger too, and the driver's pool holds that and what it rounds up.
#[cfg(feature = "cuda")]
#[test]
fn so_it_does_on_cuda_and_the_pool_holds_it() {
    let Some(gpu) = anylora_tests::new_cuda() else {
        return;
    };
    for name in ["tiny-llama", "tiny-qwen2", "tiny-llama-bnb-nf4"] {
        for (quant, dtype) in [
            (Quant::None, Dtype::F32),
            (Quant::Nf4, Dtype::Bf16),
            (Quant::Nf4, Dtype::F16),
        ] {
            let config = TrainConfig {
                quant,
                dtype,
                packing: dtype == Dtype::Bf16,
                ..config()
            };
            gpu.reset_pool_peak().unwrap();
            compare(&gpu, name, &config);
            let (ledger, pool) = (gpu.ledger().report().peak, gpu.pool_peak_bytes().unwrap());
            assert!(
                (ledger..=2 * ledger + (8 << 20)).contains(&pool),
                "{ledger} {pool}"
            );
            // The emulator rounds nothing. Beside tensors the engine has its tables of 4-bit weights.
            #[cfg(feature = "emulator")]
            assert!(pool <= ledger + 4096, "{ledger} {pool}");
        }
    }
}
