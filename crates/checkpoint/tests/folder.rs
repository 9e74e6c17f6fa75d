//! The tiny models of `tests/fixtures/tiny`, against safetensors' own reader.

use std::path::PathBuf;

use anylora_checkpoint::{Checkpoint, CheckpointError, FloatType, RopeScaling, TensorFormat};
use safetensors::SafeTensors;

fn tiny(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny");
    PathBuf::from(root).join(name)
}

#[test]
fn configs_of_the_four_families() {
    for (name, model_type, head_dim, tied) in [
        ("tiny-llama", "llama", 32, true),
        ("tiny-mistral", "mistral", 32, false),
        ("tiny-qwen2", "qwen2", 32, true),
        ("tiny-qwen3", "qwen3", 64, true),
    ] {
        let checkpoint = Checkpoint::open(&tiny(name)).unwrap();
        let config = checkpoint.config();
        assert_eq!(config.model_type, model_type);
        assert_eq!((config.hidden_size, config.intermediate_size), (128, 320));
        assert_eq!((config.num_attention_heads, config.num_key_value_heads), (4, 2));
        assert_eq!((config.num_hidden_layers, config.vocab_size), (2, 512));
        assert_eq!(
            (config.head_dim, config.tie_word_embeddings),
            (head_dim, tied),
            "{name}"
        );
        assert_eq!(config.rope.scaling, RopeScaling::Default);
        assert_eq!((config.rope.theta, config.rms_norm_eps), (10_000.0, 1e-5));
        assert_eq!(config.sliding_windows, [None, None]);
        assert_eq!(config.dtype, Some(FloatType::F32));
        let generation = checkpoint.generation_config();
        assert_eq!(
            (generation.bos_token_id, generation.pad_token_id),
            (Some(1), Some(0))
        );
        assert_eq!(generation.eos_token_ids, [2]);
        assert!(checkpoint.chat_template().unwrap().contains("<|im_start|>"));
        assert_eq!(
            checkpoint.tokenizer_config().eos_token.as_deref(),
            Some("<|im_end|>")
        );
        assert!(checkpoint.tokenizer_json().unwrap().starts_with(b"{"));
    }
}

#[test]
fn tensors_equal_those_of_the_safetensors_crate() {
    for name in ["tiny-llama", "tiny-mistral", "tiny-qwen2", "tiny-qwen3"] {
        let checkpoint = Checkpoint::open(&tiny(name)).unwrap();
        let bytes = std::fs::read(tiny(name).join("model.safetensors")).unwrap();
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        let mut names = theirs.names();
        names.sort();
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), names);
        for name in names {
            let (tensor, view) = (checkpoint.read(name).unwrap(), theirs.tensor(name).unwrap());
            assert_eq!(tensor.shape, view.shape());
            let values: Vec<f32> = view
                .data()
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            assert_eq!(tensor.to_f32(), values, "{name}");
            let info = checkpoint.info(name).unwrap();
            assert_eq!(info.format, TensorFormat::Dense(FloatType::F32));
            assert_eq!(
                (info.shape.as_slice(), info.bytes),
                (view.shape(), view.data().len())
            );
        }
    }
}

#[test]
fn an_unknown_name_brings_the_nearest() {
    let checkpoint = Checkpoint::open(&tiny("tiny-llama")).unwrap();
    let error = checkpoint.read("model.layers.0.self_attn.q.weight").unwrap_err();
    assert!(matches!(error, CheckpointError::NoTensor { .. }));
    assert!(
        error
            .to_string()
            .contains("model.layers.0.self_attn.q_proj.weight"),
        "{error}"
    );
}

#[test]
fn paths_that_hold_no_model_are_explained() {
    let adapter = tiny("tiny-llama").join("reference/adapter_init");
    for (path, found) in [
        (tiny("no-such"), "nothing"),
        (tiny("tiny-llama").join("config.json"), "a file"),
        (tiny(""), "no config.json"),
        (adapter, "a LoRA adapter"),
    ] {
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(error.to_string().contains(found), "{error}");
        assert!(error.hint().is_some());
    }
    // A name in the current folder, which is this crate's.
    let error = Checkpoint::open("Cargo.toml".as_ref()).unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("pass the folder that holds it: ."));
}
