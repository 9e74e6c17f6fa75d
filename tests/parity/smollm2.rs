//! A real model: SmolLM2-135M-Instruct, hidden states and last-position logits of two rows of 64 tokens within 1e-4 of
//! transformers' (`tests/fixtures/smollm2`), relative to the largest value.
//!
//! `scripts/fetch-smollm2 smollm2-q4_1` puts the model where these tests look, and `scripts/test --full` runs them.

use std::path::{Path, PathBuf};

use anylora_checkpoint::Checkpoint;
use anylora_engine::Backend;
use anylora_engine_burn::Cpu;
use anylora_models::{LoadOptions, Loader, Quantization};

use crate::goldens::{Goldens, distance, values};

const TOLERANCE: f32 = 1e-4;

fn model_path() -> PathBuf {
    if let Some(path) = std::env::var_os("ANYLORA_SMOLLM2") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    cache.join("anylora/models/SmolLM2-135M-Instruct.Q4_1.gguf")
}

fn forward_equals<B: Backend>(backend: &B, options: LoadOptions, file: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smollm2");
    let goldens = Goldens::read(&folder.join(file));
    let batches = Goldens::read(&folder.join("batches.safetensors"));
    let (shape, ids) = batches.ids("input_ids");
    let (batch, time) = (shape[1], shape[2]);
    let checkpoint = Checkpoint::open(&model_path()).unwrap();
    let model = Loader::load(backend, &checkpoint, options, |_, _| {}).unwrap();
    let context = model.context([batch, time], None, None).unwrap();
    let mut states = Vec::new();
    let hidden = model
        .forward(&ids[..batch * time], &context, None, |_, x| {
            states.push(x.clone())
        })
        .unwrap();
    // The reference gives the last block's output after the final norm.
    states.pop();
    states.push(hidden.clone());
    let compare = |name: &str, found: &[f32]| {
        let expected = goldens.floats(name);
        let off = distance(&found[..expected.len()], expected);
        println!("{file}, {}: {name} is off by {off:e}", backend.info().name);
        assert!(off <= TOLERANCE, "{file}: {name} is off by {off:e}");
    };
    for index in [0, 1, 2, 15, 29, 30] {
        compare(&format!("hidden_{index}"), &values(&states[index]));
    }
    let last = model
        .gather(&hidden, &[time as u32 - 1, 2 * time as u32 - 1])
        .unwrap();
    compare("logits_last", &values(&model.logits(&last).unwrap()));
}

fn in_f32<B: Backend>(backend: &B) {
    forward_equals(backend, LoadOptions::default(), "forward_lora_f32_qv.safetensors");
}

/// With bitsandbytes' values.
fn in_nf4<B: Backend>(backend: &B) {
    let options = LoadOptions {
        quantization: Some(Quantization::nf4()),
        ..LoadOptions::default()
    };
    forward_equals(backend, options, "forward_qlora_nf4dq_qv.safetensors");
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn on_the_cpu() {
    in_f32(&Cpu::new(None));
    in_nf4(&Cpu::new(None));
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn on_an_adapter() {
    let gpu = anylora_tests::wgpu_with(|_| {});
    in_f32(&gpu);
    in_nf4(&gpu);
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets, and a GPU"]
fn on_cuda() {
    let gpu = anylora_tests::cuda().expect("a GPU: `anylora devices` lists what is here");
    in_f32(gpu);
    in_nf4(gpu);
}
