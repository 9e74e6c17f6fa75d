//! GGUF files of a few bytes: row order, scalings, and what is said about bad ones.

mod files;

use anylora_checkpoint::{Checkpoint, CheckpointError, RopeScaling};
use files::gguf;
use serde_json::Value;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer};

/// The hyperparameters of a model of one block with two heads of 4 rows.
fn hyperparameters(architecture: &str) -> Vec<(String, Vec<u8>)> {
    let key = |name: &str| format!("{architecture}.{name}");
    vec![
        ("general.architecture".into(), gguf::text(architecture)),
        (key("embedding_length"), gguf::number(8)),
        (key("feed_forward_length"), gguf::number(8)),
        (key("block_count"), gguf::number(1)),
        (key("attention.head_count"), gguf::number(2)),
        (key("attention.layer_norm_rms_epsilon"), gguf::float(1e-5)),
        (key("vocab_size"), gguf::number(8)),
    ]
}

fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn rows_are_permuted_in_the_llama_family_only() {
    // Row i holds i; heads of 4 rows, of which llama.cpp has 0, 2, 1, 3.
    let rows = f32s((0..8).flat_map(|row| [row as f32; 8]));
    let bias = f32s((0..8).map(|row| row as f32));
    for (architecture, order) in [
        ("llama", [0., 2., 1., 3., 4., 6., 5., 7.]),
        ("qwen2", [0., 1., 2., 3., 4., 5., 6., 7.]),
    ] {
        let tensors = [
            ("blk.0.attn_q.weight", 0, &[8, 8][..], rows.as_slice()),
            ("blk.0.attn_k.bias", 0, &[8], &bias),
            ("blk.0.attn_v.weight", 0, &[8, 8], &rows),
        ];
        let bytes = gguf::file(&hyperparameters(architecture), &tensors);
        let checkpoint = Checkpoint::from_gguf("made.gguf", bytes.into()).unwrap();
        let firsts = |name: &str, row: usize| -> Vec<f32> {
            checkpoint
                .read(name)
                .unwrap()
                .to_f32()
                .chunks(row)
                .map(|row| row[0])
                .collect()
        };
        assert_eq!(firsts("model.layers.0.self_attn.q_proj.weight", 8), order);
        assert_eq!(firsts("model.layers.0.self_attn.k_proj.bias", 1), order);
        assert_eq!(
            firsts("model.layers.0.self_attn.v_proj.weight", 8),
            [0., 1., 2., 3., 4., 5., 6., 7.]
        );
        assert_eq!(checkpoint.tokenizer_json(), None);
    }
}

#[test]
fn rows_that_cannot_be_permuted_are_listed() {
    let q4_0 = 2;
    let tensors = [
        ("blk.0.attn_q.bias", q4_0, &[32][..], &[0; 18][..]),
        ("blk.0.attn_k.weight", 0, &[2, 4], &[0; 32]),
    ];
    let bytes = gguf::file(&hyperparameters("llama"), &tensors);
    let error = Checkpoint::from_gguf("made.gguf", bytes.into())
        .unwrap_err()
        .to_string();
    for part in [
        "tensor `model.layers.0.self_attn.q_proj.bias`: expected 2 heads of 4 rows, found Q4_0 [32]",
        "tensor `model.layers.0.self_attn.k_proj.weight`: expected 2 heads of 4 rows, found F32 [4, 2]",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn scalings_of_rope() {
    let with = |more: Vec<(&str, Vec<u8>)>, factors: &[f32]| {
        let mut metadata = hyperparameters("llama");
        metadata.extend(more.into_iter().map(|(key, value)| (key.into(), value)));
        let factors = f32s(factors.iter().copied());
        let len = [factors.len() as u64 / 4];
        let tensors = [("rope_freqs.weight", 0, &len[..], factors.as_slice())];
        let bytes = gguf::file(&metadata, if factors.is_empty() { &[] } else { &tensors });
        Checkpoint::from_gguf("made.gguf", bytes.into()).map(|checkpoint| checkpoint.config().rope.clone())
    };
    let linear = vec![
        ("llama.rope.scaling.type", gguf::text("linear")),
        ("llama.rope.scaling.factor", gguf::float(2.0)),
    ];
    assert_eq!(
        with(linear, &[]).unwrap().scaling,
        RopeScaling::Linear { factor: 2.0 }
    );
    let rope = with(
        vec![("llama.rope.freq_base", gguf::float(500_000.0))],
        &[1.0, 1.0],
    )
    .unwrap();
    assert_eq!(rope.theta, 500_000.0);
    assert!(matches!(rope.scaling, RopeScaling::Llama3 { factor: 1.0, .. }));
    let error = with(vec![], &[1.0, 3.0]).unwrap_err().to_string();
    assert!(
        error.contains("`rope_freqs.weight`: expected the factors of Llama 3's scaling"),
        "{error}"
    );
    let longrope = vec![("llama.rope.scaling.type", gguf::text("longrope"))];
    let error = with(longrope, &[]).unwrap_err().to_string();
    assert!(
        error.contains("\"none\", \"linear\" or \"yarn\", found \"longrope\""),
        "{error}"
    );
}

/// The hyperparameters and a tokenizer of every single byte.
fn with_bytes_tokenizer(pre: &str) -> Vec<(String, Vec<u8>)> {
    let mut metadata = hyperparameters("llama");
    let alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    metadata.extend([
        ("tokenizer.ggml.model".to_string(), gguf::text("gpt2")),
        ("tokenizer.ggml.pre".into(), gguf::text(pre)),
        (
            "tokenizer.ggml.tokens".into(),
            gguf::texts(&[alphabet.as_slice(), &["ab".into()]].concat()),
        ),
        ("tokenizer.ggml.merges".into(), gguf::texts(&["a b".into()])),
        ("tokenizer.ggml.bos_token_id".into(), gguf::number(256)),
    ]);
    metadata
}

#[test]
fn pre_tokenizers_split_as_hugging_face_does() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/gguf/pre_tokenizers.json"
    );
    let expected: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), 6);
    for (name, cases) in expected {
        let bytes = gguf::file(&with_bytes_tokenizer(name), &[]);
        let checkpoint = Checkpoint::from_gguf("made.gguf", bytes.into()).unwrap();
        let tokenizer = Tokenizer::from_bytes(checkpoint.tokenizer_json().unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let mut pieces = PreTokenizedString::from(text);
            tokenizer
                .get_pre_tokenizer()
                .unwrap()
                .pre_tokenize(&mut pieces)
                .unwrap();
            let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Char);
            let ends: Vec<_> = splits.iter().map(|(_, (_, end), _)| *end).collect();
            assert_eq!(case["ends"], serde_json::json!(ends), "{name}: {text:?}");
        }
        // Llama 3's and Mistral's texts begin with the begin token.
        let ids = tokenizer.encode("ab", true).unwrap().get_ids().to_vec();
        let begins = matches!(name.as_str(), "llama-bpe" | "tekken");
        assert_eq!(ids, if begins { vec![256, 256] } else { vec![256] }, "{name}");
    }
}

#[test]
fn a_pre_tokenizer_that_is_not_known_is_refused() {
    let bytes = gguf::file(&with_bytes_tokenizer("gpt-4o"), &[]);
    let error = Checkpoint::from_gguf("made.gguf", bytes.into())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`tokenizer.ggml.pre`: expected one of default, gpt-2"),
        "{error}"
    );
}

#[test]
fn every_bad_key_is_listed() {
    let mut metadata = hyperparameters("llama");
    metadata.retain(|(key, _)| !key.ends_with("block_count"));
    metadata.extend([
        ("llama.context_length".to_string(), gguf::text("long")),
        ("llama.rope.freq_base".into(), gguf::number(5)),
    ]);
    let bytes = gguf::file(&metadata, &[]);
    let error = Checkpoint::from_gguf("made.gguf", bytes.into())
        .unwrap_err()
        .to_string();
    for part in [
        "3 problems",
        "`llama.block_count`: expected the model's hyperparameter, found no such key",
        "`llama.context_length`: expected a whole number, found a text of 4 bytes",
        "`llama.rope.freq_base`: expected a number, found 5",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let mut metadata = hyperparameters("llama");
    metadata.push(("tokenizer.ggml.model".into(), gguf::text("t5")));
    let error = Checkpoint::from_gguf("made.gguf", gguf::file(&metadata, &[]).into()).unwrap_err();
    assert!(matches!(&error, CheckpointError::Unsupported { .. }));
    assert!(error.to_string().contains("found \"t5\""), "{error}");
    let mut metadata = hyperparameters("llama");
    metadata.push(("general.type".into(), gguf::text("adapter")));
    let error = Checkpoint::from_gguf("made.gguf", gguf::file(&metadata, &[]).into()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected a model, found a file of type \"adapter\""),
        "{error}"
    );
}
