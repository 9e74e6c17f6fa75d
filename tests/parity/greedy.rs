//! The greedy continuation, token by token, with and without the KV cache.

use std::ops::ControlFlow;

use anylora_checkpoint::Checkpoint;
use anylora_engine::Backend;
use anylora_generate::{Event, GenerationOptions, Prompter, Session, generate, generate_batch};
use anylora_models::LoadOptions;
use pollster::block_on;

use crate::engines::on_engines;
use crate::goldens::{Goldens, TINY, argmax, distance, folder, load, values};

const PROMPT: usize = 16;

fn without_cache<B: Backend>(backend: &B) {
    for name in TINY {
        let model = load(backend, name, LoadOptions::default());
        let goldens = Goldens::open(name, "forward.safetensors");
        let (_, expected) = goldens.ids("greedy");
        let mut ids = expected[..PROMPT].to_vec();
        while ids.len() < expected.len() {
            let context = model.context([1, ids.len()], None, None).unwrap();
            let hidden = model.forward(&ids, &context, None, |_, _| {}).unwrap();
            let last = model.gather(&hidden, &[ids.len() as u32 - 1]).unwrap();
            ids.push(argmax(&values(&model.logits(&last).unwrap())));
        }
        assert_eq!(ids, expected, "{name}");
    }
}

fn with_cache<B: Backend>(backend: &B) {
    for name in TINY {
        let model = load(backend, name, LoadOptions::default());
        let goldens = Goldens::open(name, "forward.safetensors");
        let (_, expected) = goldens.ids("greedy");
        let mut cache = model.kv_cache(1, expected.len()).unwrap();
        let table = model.rope.table(backend, expected.len(), PROMPT).unwrap();
        let mut ids = expected[..PROMPT].to_vec();
        let mut new = 0;
        while ids.len() < expected.len() {
            let hidden = model
                .forward_cached(&ids[new..], &mut cache, &table, None)
                .unwrap();
            let last = model.gather(&hidden, &[(ids.len() - new) as u32 - 1]).unwrap();
            new = ids.len();
            ids.push(argmax(&values(&model.logits(&last).unwrap())));
        }
        assert_eq!(ids, expected, "{name}");
    }
}

/// Two sequences at once, token by token, give the logits of one pass over all tokens.
fn cached_batch_equals_whole<B: Backend>(backend: &B) {
    for name in TINY {
        let model = load(backend, name, LoadOptions::default());
        let goldens = Goldens::open(name, "forward.safetensors");
        let (shape, ids) = goldens.ids("input_ids");
        let (batch, time) = (shape[0], shape[1]);
        let mut cache = model.kv_cache(batch, time).unwrap();
        let table = model.rope.table(backend, time, time).unwrap();
        let rows = |range: std::ops::Range<usize>| -> Vec<u32> {
            (0..batch)
                .flat_map(|row| ids[row * time..][range.clone()].to_vec())
                .collect()
        };
        model
            .forward_cached(&rows(0..PROMPT), &mut cache, &table, None)
            .unwrap();
        for at in PROMPT..time {
            let hidden = model
                .forward_cached(&rows(at..at + 1), &mut cache, &table, None)
                .unwrap();
            let logits = values(&model.logits(&hidden).unwrap());
            let vocab = model.config.vocab_size;
            let expected: Vec<f32> = (0..batch)
                .flat_map(|row| goldens.floats("logits")[(row * time + at) * vocab..][..vocab].to_vec())
                .collect();
            let off = distance(&logits, &expected);
            assert!(off <= 2e-5, "{name}: logits at {at} are off by {off:e}");
        }
    }
}

/// Prompts of different lengths at once give what each gives alone; the recorded one gives the recorded text.
fn batch_equals_alone<B: Backend>(backend: &B) {
    for name in TINY {
        let model = load(backend, name, LoadOptions::default());
        let prompter = Prompter::new(&Checkpoint::open(&folder(name)).unwrap()).unwrap();
        let goldens = Goldens::open(name, "forward.safetensors");
        let (_, expected) = goldens.ids("greedy");
        let prompts = [
            expected[..PROMPT].to_vec(),
            expected[2..5].to_vec(),
            expected[1..2].to_vec(),
            expected[3..PROMPT + 8].to_vec(),
        ];
        let options = GenerationOptions {
            max_tokens: expected.len() - PROMPT,
            ..GenerationOptions::default()
        };
        let together = block_on(generate_batch(&model, None, &prompter, &prompts, &options)).unwrap();
        for (prompt, found) in prompts.iter().zip(&together) {
            let mut session = Session::new(&model, None);
            let go_on = |_: Event<'_>| ControlFlow::Continue(());
            let alone = block_on(generate(&mut session, &prompter, prompt, &options, go_on)).unwrap();
            assert_eq!(*found, alone, "{name}, a prompt of {}", prompt.len());
        }
        let found = &together[0].tokens;
        assert!(
            expected[PROMPT..].starts_with(found) && !found.is_empty(),
            "{name}"
        );
    }
}

on_engines!(
    without_cache,
    with_cache,
    cached_batch_equals_whole,
    batch_equals_alone
);
