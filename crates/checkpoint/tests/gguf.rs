//! GGUF files that gguf-py made: `tests/fixtures/gguf/README.md`.

mod files;

use std::path::{Path, PathBuf};

use anylora_checkpoint::{Checkpoint, CheckpointError, FileFormat, FloatType, RopeScaling, TensorFormat};
use files::tiny;
use serde_json::Value;
use tokenizers::Tokenizer;

fn fixture(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/gguf");
    Path::new(root).join(name)
}

#[expect(clippy::unwrap_used, reason = "test code outside of a test function")]
fn tokenizer(checkpoint: &Checkpoint) -> Tokenizer {
    Tokenizer::from_bytes(checkpoint.tokenizer_json().unwrap()).unwrap()
}

#[test]
fn hyperparameters_equal_config_json() {
    let gguf = Checkpoint::open(&fixture("tiny-llama.gguf")).unwrap();
    let folder = Checkpoint::open(&tiny("tiny-llama")).unwrap();
    assert_eq!(
        (gguf.format(), folder.format()),
        (FileFormat::Gguf, FileFormat::HuggingFace)
    );
    let mut expected = folder.config().clone();
    // GGUF has neither.
    expected.architectures.clear();
    expected.dtype = None;
    assert_eq!(*gguf.config(), expected);
    assert_eq!(gguf.generation_config().eos_token_ids, [2]);
    assert_eq!(gguf.chat_template(), folder.chat_template());
    assert_eq!(gguf.tokenizer_config().bos_token.as_deref(), Some("<|im_start|>"));
    assert_eq!(gguf.tokenizer_config().add_bos_token, Some(false));
}

#[test]
fn tensors_are_those_of_the_folder_to_their_format() {
    let gguf = Checkpoint::open(&fixture("tiny-llama.gguf")).unwrap();
    let folder = Checkpoint::open(&tiny("tiny-llama")).unwrap();
    assert!(gguf.names().eq(folder.names()));
    let (mut exact, mut kinds) = (0, std::collections::BTreeSet::new());
    for name in folder.names() {
        let (ours, theirs) = (gguf.read(name).unwrap(), folder.read(name).unwrap());
        assert_eq!(ours.shape, theirs.shape, "{name}");
        let (ours, theirs) = (ours.to_f32(), theirs.to_f32());
        let format = gguf.info(name).unwrap().format;
        kinds.insert(format.to_string());
        // The most that rounding moves a value, relative to the largest of the tensor: half a step, or a whole one
        // where the range is lopsided (Q4_0 has codes from -8 to 7); the scales' own rounding to f16 on top.
        let tolerance = match format {
            TensorFormat::Dense(FloatType::F32) => 0.0,
            TensorFormat::Dense(FloatType::F16) => 1.0 / 2048.0,
            TensorFormat::Dense(FloatType::BF16) => 1.0 / 256.0,
            TensorFormat::Ggml(format) => {
                1e-3 + match format.name() {
                    "Q8_0" => 0.5 / 127.0,
                    "Q5_0" => 1.0 / 16.0,
                    "Q5_1" => 1.0 / 31.0,
                    "Q4_0" => 1.0 / 8.0,
                    "Q4_1" => 1.0 / 15.0,
                    other => panic!("{other}"),
                }
            }
            other => panic!("{other}"),
        };
        let largest = theirs.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        let off = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(
            off <= tolerance * largest,
            "{name} ({format}): {off} of {largest}"
        );
        exact += usize::from(tolerance == 0.0);
    }
    // Norms, and q or k in f32: rows in another order would be far off.
    assert!(exact >= 6);
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn byte_level_bpe_equals_tokenizer_json() {
    let gguf = tokenizer(&Checkpoint::open(&fixture("tiny-llama.gguf")).unwrap());
    let folder = tokenizer(&Checkpoint::open(&tiny("tiny-llama")).unwrap());
    for text in [
        "Hello, world! It's 12345 o'clock.",
        "<|im_start|>user\nHi<|im_end|>\n",
        "naïve café, 東京 🎬\t tab   spaces ",
        "",
    ] {
        let (ours, theirs) = (
            gguf.encode(text, true).unwrap(),
            folder.encode(text, true).unwrap(),
        );
        assert_eq!(ours.get_ids(), theirs.get_ids(), "{text}");
        assert_eq!(gguf.decode(ours.get_ids(), false).unwrap(), text);
    }
}

#[test]
fn sentencepiece_scores_give_sentencepieces_ids() {
    let checkpoint = Checkpoint::open(&fixture("spm.gguf")).unwrap();
    assert_eq!(checkpoint.names().count(), 0);
    let tokenizer = tokenizer(&checkpoint);
    let expected = std::fs::read(fixture("spm_expected.json")).unwrap();
    let expected: Vec<Value> = serde_json::from_slice(&expected).unwrap();
    assert_eq!(expected.len(), 8);
    for case in expected {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let encoding = tokenizer.encode(text, true).unwrap();
        assert_eq!(encoding.get_ids(), ids, "{text}: {:?}", encoding.get_tokens());
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
}

#[test]
fn scores_that_are_no_numbers_are_refused() {
    let mut bytes = std::fs::read(fixture("spm.gguf")).unwrap();
    let key = b"tokenizer.ggml.scores";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    // The type, the items' type and the number of items come before the items.
    let scores = at + key.len() + 4 + 4 + 8;
    for score in bytes[scores..scores + 700 * 4].chunks_mut(12) {
        score[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    }
    let error = Checkpoint::from_gguf("bad.gguf", bytes.into())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`tokenizer.ggml.scores`: expected numbers, found NaN"),
        "{error}"
    );
}

#[test]
fn version_2_has_the_same_layout() {
    let mut bytes = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    assert_eq!(bytes[4], 3);
    bytes[4] = 2;
    let checkpoint = Checkpoint::from_gguf("v2.gguf", bytes.into()).unwrap();
    assert_eq!(checkpoint.config().rope.scaling, RopeScaling::Default);
    assert_eq!(checkpoint.names().count(), 20);
}

#[test]
fn bad_files_say_where() {
    let good = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        Checkpoint::from_gguf("bad.gguf", bytes.into()).unwrap_err()
    };
    let at = |text: &[u8]| {
        good.windows(text.len())
            .position(|window| window == text)
            .unwrap()
    };
    type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(Edit<'_>, &str); 9] = [
        (
            &|bytes| bytes.truncate(3),
            "bad.gguf: byte 0: expected 4 bytes of GGUF's magic, found 3",
        ),
        (&|bytes| bytes[0] = b'X', "expected the letters GGUF"),
        (&|bytes| bytes[4] = 9, "found version 9"),
        (&|bytes| bytes[4..8].reverse(), "a big-endian file"),
        (&|bytes| bytes[15] = 0x7f, "bytes of a tensor's name"),
        (&|bytes| bytes[23] = 0x7f, "bytes of a metadata key"),
        (&|bytes| bytes[31] = 0x7f, "bytes of a metadata key, found"),
        (
            &|bytes| bytes.truncate(bytes.len() - 4000),
            "bytes of data within the file's",
        ),
        (
            &|bytes| bytes[at(b"llama.embedding_length") + 3] = b'x',
            "`llama.embedding_length`: expected the model's",
        ),
    ];
    for (edit, expected) in cases {
        let error = edited(edit).to_string();
        assert!(error.contains(expected), "{expected} in {error}");
    }
    // The type of a tensor comes after its name, its number of dimensions and two dimensions.
    let kind = at(b"blk.0.ffn_up.weight") + b"blk.0.ffn_up.weight".len() + 4 + 16;
    let error = edited(&|bytes| bytes[kind] = 16);
    assert!(matches!(error, CheckpointError::Unsupported { .. }));
    assert!(
        error.to_string().contains("tensor `blk.0.ffn_up.weight`"),
        "{error}"
    );
    assert!(error.to_string().contains("found IQ2_XXS"), "{error}");
    let error = edited(&|bytes| bytes[kind + 4] ^= 64).to_string();
    assert!(error.contains("where `") && error.contains("ends"), "{error}");
}

#[test]
#[ignore = "needs SmolLM2-135M-Instruct: ANYLORA_SMOLLM2 names the GGUF file, ANYLORA_SMOLLM2_TOKENIZER the upstream tokenizer.json"]
fn smollm2_tokenizes_as_upstream() {
    let path = std::env::var_os("ANYLORA_SMOLLM2").expect("ANYLORA_SMOLLM2");
    let upstream = std::env::var_os("ANYLORA_SMOLLM2_TOKENIZER").expect("ANYLORA_SMOLLM2_TOKENIZER");
    let checkpoint = Checkpoint::open(Path::new(&path)).unwrap();
    assert_eq!(checkpoint.config().hidden_size, 576);
    assert_eq!(checkpoint.config().rms_norm_eps, 1e-5);
    assert_eq!(checkpoint.names().count(), 272);
    let (ours, theirs) = (tokenizer(&checkpoint), Tokenizer::from_file(upstream).unwrap());
    let text = include_str!("gguf.rs");
    let (ours, theirs) = (
        ours.encode(text, true).unwrap(),
        theirs.encode(text, true).unwrap(),
    );
    assert_eq!(ours.get_ids(), theirs.get_ids());
}
