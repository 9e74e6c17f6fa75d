//! Models out of files that arrive in pieces: the same bits as from the file at once, and what is refused.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::path::{Path, PathBuf};

use anylora_checkpoint::{Checkpoint, ModelConfig};
use anylora_engine::{Backend, DType};
use anylora_engine_burn::Cpu;
use anylora_models::{LoadOptions, Loader, Model, Result, StreamLoader};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/tiny")
        .join(model)
}

fn config(model: &str) -> ModelConfig {
    ModelConfig::from_json(&std::fs::read(folder(model).join("config.json")).unwrap()).unwrap()
}

fn weights(model: &str) -> Vec<u8> {
    std::fs::read(folder(model).join("model.safetensors")).unwrap()
}

/// Streams files in pieces of `size` bytes.
fn stream(config: &ModelConfig, files: &[Vec<u8>], size: usize) -> Result<Model<Cpu>> {
    let mut loader = StreamLoader::new(&Cpu::new(None), config, DType::F32)?;
    for (index, file) in files.iter().enumerate() {
        loader.begin(&format!("shard-{index}.safetensors"), file.len())?;
        for piece in file.chunks(size) {
            loader.push(piece)?;
        }
    }
    loader.finish()
}

fn error(config: &ModelConfig, files: &[Vec<u8>]) -> String {
    stream(config, files, 1000).err().unwrap().to_string()
}

fn logits(model: &Model<Cpu>) -> Vec<f32> {
    let context = model.context([1, 5], None, None).unwrap();
    let hidden = model
        .forward(&[5, 60, 7, 408, 9], &context, None, |_, _| {})
        .unwrap();
    pollster::block_on(model.logits(&hidden).unwrap().to_f32()).unwrap()
}

type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

/// The tensors of a file.
fn entries(file: &[u8]) -> Vec<Entry> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let entry = |(name, view): (String, TensorView<'_>)| {
        (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())
    };
    tensors.tensors().into_iter().map(entry).collect()
}

/// A file of these tensors.
fn file(entries: &[Entry]) -> Vec<u8> {
    let views = entries.iter().map(|(name, dtype, shape, bytes)| {
        (
            name.clone(),
            TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn streamed_models_compute_the_same_bits() {
    for name in ["tiny-llama", "tiny-qwen2", "tiny-mistral", "tiny-llama-bnb-nf4"] {
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        let whole = Loader::load(&Cpu::new(None), &checkpoint, LoadOptions::default(), |_, _| {}).unwrap();
        for size in [997, 1 << 20] {
            let streamed = stream(checkpoint.config(), &[weights(name)], size).unwrap();
            assert_eq!(logits(&streamed), logits(&whole), "{name} in pieces of {size}");
            let live = |model: &Model<Cpu>| model.backend().ledger().report().live_by_kind;
            assert_eq!(live(&streamed), live(&whole), "{name}");
        }
    }
}

/// Two files, the second first; embedding, a matrix and a weight's codes cut by rows.
#[test]
fn tensors_may_be_cut_by_rows_and_files_may_come_in_any_order() {
    let name = "tiny-llama-bnb-nf4";
    let mut cut: Vec<Entry> = Vec::new();
    for (name, dtype, shape, bytes) in entries(&weights(name)) {
        if !name.ends_with("embed_tokens.weight") && !name.ends_with("0.mlp.up_proj.weight") {
            cut.push((name, dtype, shape, bytes));
            continue;
        }
        let row = bytes.len() / shape[0];
        let starts = [0, 64, 192, shape[0]];
        for (part, bounds) in starts.windows(2).enumerate() {
            let mut shape = shape.clone();
            shape[0] = bounds[1] - bounds[0];
            let bytes = bytes[bounds[0] * row..bounds[1] * row].to_vec();
            cut.push((
                format!("{name}.part-{:05}-of-00003", part + 1),
                dtype,
                shape,
                bytes,
            ));
        }
    }
    cut.sort_by(|a, b| a.0.cmp(&b.0));
    let (first, second) = cut.split_at(cut.len() / 2);
    let config = config(name);
    let whole = stream(&config, &[weights(name)], 1 << 20).unwrap();
    let parts = stream(&config, &[file(second), file(first)], 4099).unwrap();
    assert_eq!(logits(&parts), logits(&whole));

    cut.retain(|(name, ..)| !name.ends_with("embed_tokens.weight.part-00002-of-00003"));
    let text = error(&config, &[file(&cut)]);
    assert!(
        text.contains("model.embed_tokens.weight") && text.contains("part 2 of 3"),
        "{text}"
    );
    cut.retain(|(name, ..)| !name.ends_with("embed_tokens.weight.part-00003-of-00003"));
    let text = error(&config, &[file(&cut)]);
    assert!(text.contains("expected 3 parts, found 1"), "{text}");
}

#[test]
fn what_does_not_fit_is_named() {
    let name = "tiny-llama-bnb-nf4";
    let config = config(name);
    let good = entries(&weights(name));
    let weight = "model.layers.1.self_attn.q_proj.weight";
    let changed = |change: &dyn Fn(&mut Entry) -> bool| {
        let mut entries = good.clone();
        entries.retain_mut(change);
        error(&config, &[file(&entries)])
    };
    let missing =
        |suffix: &'static str| changed(&move |entry: &mut Entry| entry.0 != format!("{weight}{suffix}"));
    for (suffix, expected) in [
        (
            ".absmax",
            "`model.layers.1.self_attn.q_proj.weight.absmax`: expected",
        ),
        (
            ".quant_map",
            "`model.layers.1.self_attn.q_proj.weight.quant_map`: expected the levels of nf4",
        ),
        (
            ".quant_state.bitsandbytes__nf4",
            "expected its quant_state.bitsandbytes__nf4",
        ),
        ("", "`model.layers.1.self_attn.q_proj.weight`: expected u8 ["),
    ] {
        let text = missing(suffix);
        assert!(
            text.contains(expected) && text.contains("no such tensor"),
            "{text}"
        );
    }
    let text = changed(&|entry: &mut Entry| {
        if entry.0 == format!("{weight}.absmax") {
            (entry.2, entry.3) = (vec![3], entry.3[..3 * entry.3.len() / entry.2[0]].to_vec());
        }
        true
    });
    assert!(
        text.contains(".absmax`: expected") && text.contains("found"),
        "{text}"
    );
    let text = changed(&|entry: &mut Entry| {
        if entry.0 == "model.norm.weight" {
            entry.2 = vec![entry.2[0] / 2, 2];
        }
        true
    });
    assert!(text.contains("`model.norm.weight`: expected [128]"), "{text}");
    let text = changed(&|entry: &mut Entry| {
        if entry.0 == "model.norm.weight" {
            entry.0 = "model.norms.weight".to_owned();
        }
        true
    });
    assert!(
        text.contains("`model.norms.weight`: expected no such tensor in a llama model"),
        "{text}"
    );
    let twice = [weights(name), file(&good[..1])];
    assert!(error(&config, &twice).contains("expected it once, found it twice"));
    let whole = weights(name);
    let short = whole[..whole.len() - 1].to_vec();
    let mut loader = StreamLoader::new(&Cpu::new(None), &config, DType::F32).unwrap();
    loader.begin("short.safetensors", whole.len()).unwrap();
    loader.push(&short).unwrap();
    let text = loader.finish().err().unwrap().to_string();
    assert!(text.contains("short.safetensors: length"), "{text}");
}
