//! A tiny model, a few examples, a trainer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anylora_checkpoint::Checkpoint;
use anylora_data::{Batches, Dataset, Position};
use anylora_engine::Backend;
use anylora_generate::Prompter;
use anylora_models::Loader;
use anylora_train::prepare::Text;
use anylora_train::{Quant, Schedule, State, TrainConfig, Trainer, plan};
use pollster::block_on;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny/tiny-llama")
}

/// Settings under which small things matter: dropout, clipping, a schedule, shuffling.
pub fn config() -> TrainConfig {
    TrainConfig {
        quant: Quant::Nf4,
        rank: 4,
        dropout: 0.1,
        lr: 1e-3,
        schedule: Schedule::Linear,
        batch_size: 2,
        max_length: 24,
        clip: 0.5,
        ..TrainConfig::default()
    }
}

pub fn trainer<B: Backend>(backend: &B, config: &TrainConfig, steps: usize) -> Trainer<B> {
    let checkpoint = Checkpoint::open(&folder()).unwrap();
    let options = plan::load_options(config, backend);
    let model = Loader::load(backend, &checkpoint, options, |_, _| {}).unwrap();
    Trainer::new(model, config.clone(), steps, None).unwrap()
}

/// Texts of 3 to 20 bytes or so, prompts and completions.
pub fn data() -> Arc<Dataset> {
    let lines: String = (0..13)
        .map(|i| {
            let (prompt, completion) = ("ab".repeat(i % 4 + 1), " xyz".repeat(i % 3 + 1));
            format!("{{\"prompt\": \"{prompt}{i}\", \"completion\": \"{completion}\"}}\n")
        })
        .collect();
    Arc::new(Dataset::from_bytes("data.jsonl", lines.into_bytes(), None).unwrap())
}

pub fn batches(config: &TrainConfig, position: Position) -> Batches {
    let checkpoint = Checkpoint::open(&folder()).unwrap();
    let prompter = Prompter::new(&checkpoint).unwrap();
    let text = Text::new(prompter.tokenizer().clone(), prompter.template().cloned(), config).unwrap();
    text.batches(data(), config, position).unwrap()
}

pub fn flat<B: Backend>(trainer: &Trainer<B>) -> Vec<f32> {
    let all = block_on(trainer.parameters().download(State::Param)).unwrap();
    all.into_iter().flatten().flatten().collect()
}
