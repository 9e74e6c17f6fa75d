//! Loading: what is refused and how, what quantization leaves alone, and what plans count.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::path::{Path, PathBuf};

use anylora_checkpoint::{Checkpoint, FloatType, ModelConfig, StoredTensor, TensorFormat, Values};
use anylora_engine::{Backend, Caps, DType, Dry, MemoryKind, Tensor, Weight, ops};
use anylora_engine_burn::Cpu;
use anylora_models::{LoadOptions, Loader, Model, ModelError, Packed, Quantization, TensorSpec, registry};
use anylora_nn::Projection;
use anylora_quant::{BlockSize, Codebook, GgmlFormat};

fn tiny(model: &str) -> Checkpoint {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/tiny")
        .join(model);
    Checkpoint::open(&folder).unwrap()
}

fn listed(checkpoint: &Checkpoint) -> Vec<(String, Vec<usize>, TensorFormat)> {
    let info = |name: &str| {
        let info = checkpoint.info(name).unwrap();
        (name.to_owned(), info.shape, info.format)
    };
    checkpoint.names().map(info).collect()
}

fn nf4() -> LoadOptions {
    LoadOptions {
        quantization: Some(Quantization::nf4()),
        ..LoadOptions::default()
    }
}

/// The embedding, which is dense in these models.
fn table(model: &Model<Cpu>) -> &Tensor<Cpu> {
    match &model.embed_tokens {
        Weight::Dense(table) => table,
        _ => panic!("not packed"),
    }
}

fn load(checkpoint: &Checkpoint, options: LoadOptions) -> Model<Cpu> {
    Loader::load(&Cpu::new(None), checkpoint, options, |_, _| {}).unwrap()
}

#[test]
fn all_bad_tensors_are_listed_at_once() {
    let checkpoint = tiny("tiny-llama");
    let loader = Loader::new(&Cpu::new(None), checkpoint.config(), LoadOptions::default()).unwrap();
    let mut stored = listed(&checkpoint);
    stored.retain(|(name, ..)| name != "model.norm.weight");
    stored[0].1 = vec![512, 64];
    stored.push((
        "model.layers.0.extra.weight".to_owned(),
        vec![3],
        TensorFormat::Other("I64"),
    ));
    let Err(ModelError::Tensors(problems)) = loader.check(&stored) else {
        panic!("not refused");
    };
    let names: Vec<&str> = problems.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model.embed_tokens.weight",
            "model.layers.0.extra.weight",
            "model.norm.weight"
        ]
    );
    assert_eq!(problems[0].expected, "[512, 128]");
    assert_eq!(problems[0].found, "[512, 64]");
    assert_eq!(problems[2].found, "no such tensor");
    let text = ModelError::Tensors(problems).to_string();
    assert!(text.starts_with("3 bad tensors\n"), "{text}");
}

#[test]
fn a_tied_head_and_old_rotary_buffers_may_be_there_too() {
    let checkpoint = tiny("tiny-llama");
    let loader = Loader::new(&Cpu::new(None), checkpoint.config(), LoadOptions::default()).unwrap();
    let mut stored = listed(&checkpoint);
    let dense = TensorFormat::Dense(FloatType::F32);
    stored.push(("lm_head.weight".to_owned(), vec![512, 128], dense));
    stored.push((
        "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
        vec![16],
        dense,
    ));
    loader.check(&stored).unwrap();
}

#[test]
fn a_model_that_is_not_whole_names_what_is_missing() {
    let checkpoint = tiny("tiny-mistral");
    let mut loader = Loader::new(&Cpu::new(None), checkpoint.config(), LoadOptions::default()).unwrap();
    for name in checkpoint.names().filter(|name| !name.contains("layers.1.mlp")) {
        loader.insert(name, checkpoint.read(name).unwrap()).unwrap();
    }
    let error = loader.finish().err().unwrap();
    assert!(error.to_string().starts_with("3 bad tensors"), "{error}");
    let mut loader = Loader::new(&Cpu::new(None), checkpoint.config(), LoadOptions::default()).unwrap();
    let wrong = StoredTensor {
        shape: vec![1],
        values: Values::Dense {
            dtype: FloatType::F32,
            bytes: vec![0; 4].into(),
        },
    };
    let error = loader.insert("model.norm.weight", wrong).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`model.norm.weight`: expected [128], found [1]"
    );
}

#[test]
fn unknown_families_and_settings_are_named() {
    let config = |change: &str| {
        let base = r#""hidden_size":8,"intermediate_size":16,"num_hidden_layers":1,"num_attention_heads":2"#;
        ModelConfig::from_json(format!("{{{base},{change}}}").as_bytes()).unwrap()
    };
    let error = registry::architecture(&config(r#""model_type":"gpt2""#)).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"config.json: model_type: expected one of llama, mistral, qwen2, qwen3, found "gpt2""#
    );
    let error = registry::architecture(&config(r#""model_type":"llama","hidden_act":"gelu""#)).unwrap_err();
    assert!(error.to_string().contains("hidden_act"), "{error}");
}

#[test]
fn quantization_packs_the_linear_layers_of_blocks_alone() {
    let checkpoint = tiny("tiny-mistral");
    let model = load(&checkpoint, nf4());
    assert!(matches!(model.lm_head, Weight::Dense(_)));
    assert_eq!(table(&model).dtype(), DType::F32);
    let block = model.block(1, None).unwrap();
    for projection in Projection::ALL {
        assert!(
            matches!(block.linear(projection).weight, Weight::Nf4(_)),
            "{projection:?}"
        );
    }
    // A file that is in 4 bits already stays so, whatever is asked for.
    let packed = load(&tiny("tiny-llama-bnb-nf4"), LoadOptions::default());
    let block = packed.block(0, None).unwrap();
    assert!(matches!(block.linear(Projection::Q).weight, Weight::Nf4(_)));
}

#[test]
fn a_tied_head_shares_the_embeddings_memory() {
    let tied = load(&tiny("tiny-llama"), LoadOptions::default());
    let whole = tied.parameters() * 4;
    let report = tied.backend().ledger().report();
    assert_eq!(report.live, whole as u64);
}

#[test]
fn a_plan_counts_what_loading_takes() {
    let dense = |float, options| LoadOptions {
        dense: Some(float),
        ..options
    };
    for (name, options) in [
        ("tiny-llama", LoadOptions::default()),
        ("tiny-qwen3", nf4()),
        ("tiny-mistral", dense(FloatType::F16, nf4())),
        ("tiny-qwen2", dense(FloatType::BF16, LoadOptions::default())),
        (
            "tiny-llama-bnb-nf4",
            dense(FloatType::F16, LoadOptions::default()),
        ),
    ] {
        let checkpoint = tiny(name);
        let stored = |spec: &TensorSpec| checkpoint.info(&spec.name).unwrap().format;
        let real = load(&checkpoint, options).backend().ledger().report();
        let dry = Dry::new(Caps::HOST, None);
        let model = Loader::plan(&dry, checkpoint.config(), stored, options).unwrap();
        assert_eq!(dry.ledger().report().live_by_kind, real.live_by_kind, "{name}");
        drop(model);
        assert_eq!(dry.ledger().report().live, 0);
    }
}

/// A model stored in 16 bits stays in 16 bits, and computes what its widened values would.
#[test]
fn sixteen_bit_weights_stay_as_they_are() {
    let checkpoint = tiny("tiny-llama");
    let halve = |name: &str, keep: bool| {
        let stored = checkpoint.read(name).unwrap();
        let halved: Vec<half::bf16> = stored
            .to_f32()
            .iter()
            .map(|&value| half::bf16::from_f32(value))
            .collect();
        let widened: Vec<f32> = halved.iter().map(|value| value.to_f32()).collect();
        let values = if keep {
            Values::Dense {
                dtype: FloatType::BF16,
                bytes: bytemuck::cast_slice::<_, u8>(&halved).to_vec().into(),
            }
        } else {
            Values::Dense {
                dtype: FloatType::F32,
                bytes: bytemuck::cast_slice::<_, u8>(&widened).to_vec().into(),
            }
        };
        StoredTensor {
            shape: stored.shape,
            values,
        }
    };
    let model = |keep| {
        let mut loader = Loader::new(&Cpu::new(None), checkpoint.config(), LoadOptions::default()).unwrap();
        for name in checkpoint.names() {
            loader.insert(name, halve(name, keep)).unwrap();
        }
        loader.finish().unwrap()
    };
    let logits = |model: &Model<Cpu>| {
        let context = model.context([1, 4], None, None).unwrap();
        let hidden = model.forward(&[5, 6, 7, 8], &context, None, |_, _| {}).unwrap();
        pollster::block_on(model.logits(&hidden).unwrap().to_f32()).unwrap()
    };
    let (stored, widened) = (model(true), model(false));
    assert_eq!(table(&stored).dtype(), DType::BF16);
    assert_eq!(logits(&stored), logits(&widened));
    let live = |model: &Model<Cpu>| model.backend().ledger().report().live;
    assert!(live(&stored) < live(&widened) * 6 / 10);
}

/// Asking for 16 bits rounds dense weights while loading, as they would be if they were stored so.
#[test]
fn dense_weights_are_rounded_where_that_is_asked_for() {
    let checkpoint = tiny("tiny-qwen2");
    let width = checkpoint.config().hidden_size;
    let values = |tensor: &Tensor<Cpu>| pollster::block_on(tensor.to_f32()).unwrap();
    for (float, dtype) in [(FloatType::F16, DType::F16), (FloatType::BF16, DType::BF16)] {
        let options = LoadOptions {
            dense: Some(float),
            ..LoadOptions::default()
        };
        let (model, whole) = (
            load(&checkpoint, options),
            load(&checkpoint, LoadOptions::default()),
        );
        assert_eq!(table(&model).dtype(), dtype);
        let block = model.blocks.block(1).unwrap();
        let Weight::Dense(weight) = &block.linear(Projection::Q).weight else {
            panic!("not packed");
        };
        assert_eq!(weight.dtype(), dtype);
        assert_eq!(block.input_layernorm.weight.dtype(), DType::F32);
        let stored = checkpoint.read("model.embed_tokens.weight").unwrap().to_f32();
        let bytes = float.encode(&stored).unwrap();
        let mut rounded = vec![0.0; stored.len()];
        float.decode(&bytes, &mut rounded);
        assert!(rounded != stored);
        for (table, expected) in [(&whole.embed_tokens, &stored), (&model.embed_tokens, &rounded)] {
            let ids = Tensor::from_u32(table.backend(), &[1], MemoryKind::Activations, &[3]).unwrap();
            let row = ops::embedding(&ids, table, DType::F32).unwrap();
            assert_eq!(values(&row), expected[3 * width..4 * width]);
        }
    }
}

#[test]
fn a_weight_that_f16_cannot_hold_is_named() {
    let checkpoint = tiny("tiny-llama");
    let options = LoadOptions {
        dense: Some(FloatType::F16),
        ..LoadOptions::default()
    };
    let mut loader = Loader::new(&Cpu::new(None), checkpoint.config(), options).unwrap();
    let name = "model.layers.0.mlp.up_proj.weight";
    let mut values = checkpoint.read(name).unwrap().to_f32();
    values[7] = 1e5;
    let stored = StoredTensor {
        shape: checkpoint.info(name).unwrap().shape.clone(),
        values: Values::Dense {
            dtype: FloatType::F32,
            bytes: bytemuck::cast_slice::<_, u8>(&values).to_vec().into(),
        },
    };
    let error = loader.insert(name, stored).unwrap_err();
    assert!(
        error.to_string().contains(name) && error.hint().is_some(),
        "{error}"
    );
}

#[test]
fn a_token_past_the_vocabulary_is_refused() {
    let model = load(&tiny("tiny-llama"), LoadOptions::default());
    let error = model.embed(&[1, 512]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "token 512 at position 1: expected below 512, the model's vocab_size"
    );
}

/// The file of packed layers gives the same model, and one of other sources, settings or content is not used.
#[test]
fn packed_layers_are_kept_and_go_stale() {
    let checkpoint = tiny("tiny-qwen2");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    let quantization = Quantization::nf4();
    let single = Quantization {
        double: false,
        ..quantization
    };
    let logits = |model: &Model<Cpu>| {
        let context = model.context([1, 4], None, None).unwrap();
        let hidden = model.forward(&[5, 6, 7, 8], &context, None, |_, _| {}).unwrap();
        pollster::block_on(model.logits(&hidden).unwrap().to_f32()).unwrap()
    };
    for quantization in [quantization, single] {
        assert!(Packed::open(&path, "sources", quantization).is_none());
        Packed::write(&path, "sources", &checkpoint, quantization).unwrap();
        let packed = Packed::open(&path, "sources", quantization).unwrap();
        let options = LoadOptions {
            quantization: Some(quantization),
            ..LoadOptions::default()
        };
        let backend = Cpu::new(None);
        let model = Loader::load_packed(&backend, &checkpoint, &packed, options, |_, _| {}).unwrap();
        assert_eq!(logits(&model), logits(&load(&checkpoint, options)));
        assert!(Packed::open(&path, "other sources", quantization).is_none());
    }
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 5);
    std::fs::write(&path, bytes).unwrap();
    assert!(Packed::open(&path, "sources", single).is_none());
}

/// Blocks of llama.cpp stay as they are, and become floats or 4 bits where that is asked for.
#[test]
fn ggml_blocks_are_kept_widened_or_packed() {
    let checkpoint = tiny("tiny-llama");
    // Q8_0: a scale in f16, then 32 bytes; here every value is its code times 1/64.
    let blocks = |len: usize| -> Vec<u8> {
        let block = |i: usize| {
            let scale = half::f16::from_f32(1.0 / 64.0).to_le_bytes();
            scale
                .into_iter()
                .chain((0..32).map(move |j| ((i * 7 + j * 5) % 127) as u8))
        };
        (0..len / 32).flat_map(block).collect()
    };
    let name = "model.layers.0.mlp.up_proj.weight";
    let stored = || StoredTensor {
        shape: vec![320, 128],
        values: Values::Ggml {
            format: GgmlFormat::Q8_0,
            bytes: blocks(320 * 128).into(),
        },
    };
    let expected = stored().to_f32();
    let floats = LoadOptions {
        dense: Some(FloatType::F32),
        ..LoadOptions::default()
    };
    for (options, levels) in [(LoadOptions::default(), 0), (floats, 127), (nf4(), 16)] {
        let mut loader = Loader::new(&Cpu::new(None), checkpoint.config(), options).unwrap();
        for other in checkpoint.names().filter(|other| *other != name) {
            loader.insert(other, checkpoint.read(other).unwrap()).unwrap();
        }
        loader.insert(name, stored()).unwrap();
        let block = loader.finish().unwrap().block(0, None).unwrap();
        match &block.linear(Projection::Up).weight {
            Weight::Ggml(ggml) => {
                assert_eq!((levels, ggml.format), (0, GgmlFormat::Q8_0));
                let kept = pollster::block_on(ggml.blocks.download()).unwrap();
                assert_eq!(kept, blocks(320 * 128));
            }
            Weight::Dense(tensor) => {
                assert_eq!(levels, 127);
                assert_eq!(pollster::block_on(tensor.to_f32()).unwrap(), expected);
            }
            Weight::Nf4(nf4) => {
                assert_eq!(levels, nf4.levels.len());
                let packed = anylora_quant::quantize(&expected, Codebook::Nf4, BlockSize::default()).unwrap();
                assert_eq!(pollster::block_on(nf4.packed.download()).unwrap(), packed.packed);
            }
        }
    }
}
