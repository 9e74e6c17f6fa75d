//! A real model: SmolLM2-135M-Instruct on the CPU engine, against transformers (`tests/fixtures/smollm2`).
//!
//! `scripts/fetch-smollm2 smollm2-q4_1` puts the model where these tests look; they are slow without optimization:
//! `cargo test --release -p anylora-generate --test smollm2 -- --ignored`.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anylora_checkpoint::Checkpoint;
use anylora_data::Message;
use anylora_engine::{DType, MemoryKind, Tensor, ops};
use anylora_engine_burn::Cpu;
use anylora_generate::{GenerationOptions, Prompter, Session, generate};
use anylora_models::{LoadOptions, Loader, Model, Quantization};
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

fn nf4() -> LoadOptions {
    LoadOptions {
        quantization: Some(Quantization::nf4()),
        ..LoadOptions::default()
    }
}

fn model(checkpoint: &Checkpoint, options: LoadOptions) -> Model<Cpu> {
    Loader::load(&Cpu::new(None), checkpoint, options, |_, _| {}).unwrap()
}

fn values(tensor: &Tensor<Cpu>) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).unwrap()
}

/// The largest difference relative to the reference's largest value.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|value| value.is_finite()));
    let largest = expected.iter().fold(0f32, |max, value| max.max(value.abs()));
    let differences = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs());
    differences.fold(0f32, f32::max) / largest
}

/// Hidden states and last-position logits of batch 0 within 1e-4.
fn forward_equals(options: LoadOptions, file: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/smollm2");
    let bytes = std::fs::read(folder.join(file)).unwrap();
    let goldens = SafeTensors::deserialize(&bytes).unwrap();
    let floats =
        |name: &str| -> Vec<f32> { bytemuck::pod_collect_to_vec(goldens.tensor(name).unwrap().data()) };
    let bytes = std::fs::read(folder.join("batches.safetensors")).unwrap();
    let batches = SafeTensors::deserialize(&bytes).unwrap();
    let batches = batches.tensor("input_ids").unwrap();
    let (batch, time) = (batches.shape()[1], batches.shape()[2]);
    let ids: Vec<i64> = bytemuck::pod_collect_to_vec(batches.data());
    let ids: Vec<u32> = ids.into_iter().map(|id| u32::try_from(id).unwrap()).collect();
    let model = model(&checkpoint(), options);
    let context = model.context([batch, time], None, None).unwrap();
    let mut states = Vec::new();
    let hidden = model
        .forward(&ids[..batch * time], &context, None, |_, x| {
            states.push(x.clone())
        })
        .unwrap();
    states.pop();
    states.push(hidden.clone());
    for index in [0, 1, 2, 15, 29, 30] {
        let expected = floats(&format!("hidden_{index}"));
        let off = distance(&values(&states[index])[..expected.len()], &expected);
        println!("{file}: hidden_{index} is off by {off:e}");
        assert!(off <= 1e-4, "{file}: hidden_{index} is off by {off:e}");
    }
    let last = model
        .gather(&hidden, &[time as u32 - 1, 2 * time as u32 - 1])
        .unwrap();
    let off = distance(&values(&model.logits(&last).unwrap()), &floats("logits_last"));
    println!("{file}: logits_last is off by {off:e}");
    assert!(off <= 1e-4, "{file}: logits_last is off by {off:e}");
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn forward_equals_transformers() {
    forward_equals(LoadOptions::default(), "forward_lora_f32_qv.safetensors");
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn nf4_forward_equals_transformers_with_bitsandbytes() {
    forward_equals(nf4(), "forward_qlora_nf4dq_qv.safetensors");
}

#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn it_knows_the_capital_of_france() {
    let checkpoint = checkpoint();
    let prompter = Prompter::new(&checkpoint).unwrap();
    let prompt = prompter
        .chat(&[Message::new("user", "What is the capital of France?")])
        .unwrap();
    for (name, options) in [("f32", LoadOptions::default()), ("nf4", nf4())] {
        let model = model(&checkpoint, options);
        let mut session = Session::new(&model, None);
        let options = GenerationOptions {
            max_tokens: 32,
            ..GenerationOptions::default()
        };
        let go_on = |_: anylora_generate::Event<'_>| ControlFlow::Continue(());
        let answer = pollster::block_on(generate(&mut session, &prompter, &prompt, &options, go_on)).unwrap();
        println!("{name}: {}", answer.text);
        assert!(answer.text.contains("Paris"), "{name}: {}", answer.text);
    }
}

/// Perplexity on the first 2,000 tokens of movie snippets, in rows of 250: f32 and NF4 beside each other.
#[test]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets"]
fn nf4_perplexity_is_near_that_of_f32() {
    const TIME: usize = 250;
    let checkpoint = checkpoint();
    let prompter = Prompter::new(&checkpoint).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/movie_snippets_test.jsonl");
    let file = std::fs::read_to_string(examples).unwrap();
    let text: Vec<String> = file
        .lines()
        .map(|line| {
            let example: serde_json::Value = serde_json::from_str(line).unwrap();
            format!(
                "{}{}",
                example["prompt"].as_str().unwrap(),
                example["completion"].as_str().unwrap()
            )
        })
        .collect();
    let text = text.join("\n\n");
    let mut ids = prompter.tokenizer().encode(&text, false).unwrap();
    ids.truncate(2000);
    assert_eq!(ids.len(), 2000);
    let labels: Vec<i32> = (0..ids.len())
        .map(|at| {
            if at % TIME + 1 < TIME {
                ids[at + 1] as i32
            } else {
                -100
            }
        })
        .collect();
    let perplexity = |options| {
        let model = model(&checkpoint, options);
        let context = model.context([ids.len() / TIME, TIME], None, None).unwrap();
        let hidden = model.forward(&ids, &context, None, |_, _| {}).unwrap();
        let labels = Tensor::from_bytes(
            model.backend(),
            &[labels.len()],
            DType::I32,
            MemoryKind::Activations,
            bytemuck::cast_slice(&labels),
        )
        .unwrap();
        let loss = values(
            &ops::head_loss(&hidden, &model.lm_head, &labels, None)
                .unwrap()
                .loss,
        );
        (loss[0] / loss[1]).exp()
    };
    let (f32, nf4) = (perplexity(LoadOptions::default()), perplexity(nf4()));
    println!("perplexity on 2,000 tokens: f32 {f32:.3}, NF4 {nf4:.3}");
    assert!(
        f32 > 1.0 && nf4 > f32 * 0.98 && nf4 < f32 * 1.25,
        "f32 {f32}, NF4 {nf4}"
    );
}
