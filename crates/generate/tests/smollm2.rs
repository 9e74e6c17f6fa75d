//! A real model: what SmolLM2-135M-Instruct answers on the CPU engine. `tests/parity` compares its values.
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
