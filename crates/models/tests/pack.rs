//! Packs: what is loaded from one computes what the model computes that it was made of.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::path::{Path, PathBuf};

use anylora_checkpoint::{Adapter, Checkpoint, FloatType, ModelWriter, PackQuantization, TensorFormat};
use anylora_engine_burn::Cpu;
use anylora_models::merge::{merge, merged_specs};
use anylora_models::{LoadOptions, Loader, Quantization, pack, weight_file_bytes};

fn folder_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn fixture(name: &str) -> Checkpoint {
    Checkpoint::open(&folder_of(name)).unwrap()
}

fn logits(checkpoint: &Checkpoint, options: LoadOptions) -> Vec<f32> {
    let model = Loader::load(&Cpu::new(None), checkpoint, options, |_, _| {}).unwrap();
    let ids = [1, 7, 300, 42, 5, 9];
    let context = model.context([1, ids.len()], None, None).unwrap();
    let hidden = model.forward(&ids, &context, None, |_, _| {}).unwrap();
    pollster::block_on(model.logits(&hidden).unwrap().to_f32()).unwrap()
}

#[test]
fn a_pack_computes_what_its_source_does() {
    let folder = tempfile::tempdir().unwrap();
    let quantized = LoadOptions {
        quantization: Some(Quantization::nf4()),
        // A pack's embedding has 16 bits.
        dense: Some(FloatType::F16),
        ..LoadOptions::default()
    };
    let (nf4, none) = (PackQuantization::Nf4, PackQuantization::None);
    for (source, options, kind) in [
        ("tiny/tiny-llama", quantized, nf4),
        ("tiny/tiny-mistral", quantized, nf4),
        ("tiny/tiny-qwen2", quantized, nf4),
        ("tiny/tiny-qwen3", quantized, nf4),
        ("tiny/tiny-qwen3", LoadOptions::default(), none),
        ("tiny/tiny-llama-bnb-nf4", quantized, nf4),
        ("tiny/tiny-llama-bnb-nf4", LoadOptions::default(), nf4),
        ("gguf/tiny-llama.gguf", quantized, nf4),
    ] {
        let path = folder.path().join("pack");
        let checkpoint = fixture(source);
        let manifest = pack(
            &checkpoint,
            options.quantization,
            &path,
            source,
            20_000,
            |_, _| {},
        )
        .unwrap();
        assert_eq!(manifest.quantization, kind, "{source}");
        let packed = Checkpoint::open(&path).unwrap();
        // Even codes are split. Whatever the options: they are as they are.
        assert!(manifest.shards.len() > 10, "{source}");
        assert_eq!(
            logits(&packed, LoadOptions::default()),
            logits(&checkpoint, options),
            "{source}"
        );
        assert_eq!(packed.chat_template(), checkpoint.chat_template(), "{source}");
        assert_eq!(packed.tokenizer_json(), checkpoint.tokenizer_json(), "{source}");
        let format = packed.info("model.layers.1.mlp.down_proj.weight").unwrap().format;
        let is_4bit = matches!(format, TensorFormat::Quantized4 { double: true, .. });
        assert_eq!(is_4bit, kind == nf4, "{source}: {format}");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = fixture("tiny/tiny-qwen2");
    let mut counts = Vec::new();
    let mut manifest = |name: &str| {
        let path = folder.path().join(name);
        let quantization = Some(Quantization::nf4());
        pack(
            &checkpoint,
            quantization,
            &path,
            "Tiny",
            usize::MAX,
            |done, of| counts.push((done, of)),
        )
        .unwrap();
        std::fs::read(path.join("manifest.json")).unwrap()
    };
    assert_eq!(manifest("a"), manifest("b"));
    let (first, last) = (counts[0], counts[counts.len() - 1]);
    assert_eq!((first.0, last.0), (0, last.1));
}

#[test]
fn the_size_on_disk_is_that_of_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let single = Quantization {
        double: false,
        ..Quantization::nf4()
    };
    for source in [
        "tiny/tiny-llama",
        "tiny/tiny-qwen2",
        "tiny/tiny-llama-bnb-nf4",
        "gguf/tiny-llama.gguf",
    ] {
        let checkpoint = fixture(source);
        for quantization in [Quantization::nf4(), single] {
            let path = folder.path().join("pack");
            let options = LoadOptions {
                quantization: Some(quantization),
                dense: Some(FloatType::BF16),
                ..LoadOptions::default()
            };
            let manifest = pack(
                &checkpoint,
                options.quantization,
                &path,
                "Tiny",
                usize::MAX,
                |_, _| {},
            );
            let written: u64 = manifest.unwrap().shards.iter().map(|shard| shard.bytes).sum();
            assert_eq!(
                weight_file_bytes(&checkpoint, options).unwrap(),
                written,
                "{source}"
            );
        }
    }
    let checkpoint = fixture("tiny/tiny-qwen2");
    let path = folder.path().join("dense");
    let specs = merged_specs(&checkpoint, FloatType::BF16).unwrap();
    let mut writer = ModelWriter::create(&path, specs, usize::MAX).unwrap();
    let adapter = folder_of("tiny/tiny-qwen2/reference/lora_f32_adapter_final");
    let adapter = Adapter::open(&adapter).unwrap();
    merge(&checkpoint, &adapter, &mut writer, |_, _| {}).unwrap();
    writer.finish().unwrap();
    let written = path.join("model.safetensors").metadata().unwrap().len();
    let dense = LoadOptions {
        dense: Some(FloatType::BF16),
        ..LoadOptions::default()
    };
    assert_eq!(weight_file_bytes(&checkpoint, dense).unwrap(), written);
}

#[test]
fn a_checkpoint_without_its_tensors_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny/tiny-llama");
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(tiny.join(name), source.join(name)).unwrap();
    }
    let header = br#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    std::fs::write(source.join("model.safetensors"), file).unwrap();
    let checkpoint = Checkpoint::open(&source).unwrap();
    let path = folder.path().join("pack");
    let error = pack(&checkpoint, None, &path, "Tiny", usize::MAX, |_, _| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("model.norm.weight") && error.contains("`x`"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
