//! The tokenizer: encode, decode, special tokens, streaming.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::sync::LazyLock;

use anylora_data::{Tokenizer, TokenizerConfig, TokenizerError};
use proptest::prelude::*;

const TOKENIZER: &[u8] = include_bytes!("fixtures/tiny-tokenizer/tokenizer.json");
const CONFIG: &[u8] = include_bytes!("fixtures/tiny-tokenizer/tokenizer_config.json");

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(TOKENIZER, TokenizerConfig::from_json(CONFIG).unwrap()).unwrap()
}

#[test]
fn special_tokens_have_their_roles() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.eos_id(), tokenizer.token_to_id("<|im_end|>"));
    assert_eq!(tokenizer.pad_id(), tokenizer.token_to_id("<|endoftext|>"));
    let eos = tokenizer.eos_id().unwrap();
    assert_eq!(tokenizer.id_to_token(eos).as_deref(), Some("<|im_end|>"));
    assert!(tokenizer.is_special(eos));
    assert!(!tokenizer.is_special(tokenizer.token_to_id("e").unwrap()));
    assert_eq!(tokenizer.encode("a<|im_end|>", false).unwrap().last(), Some(&eos));
    assert_eq!(tokenizer.vocab_size(), 512);
}

#[test]
fn an_added_token_object_names_a_special_token() {
    let config = TokenizerConfig::from_json(
        br#"{"eos_token": {"content": "</s>", "lstrip": false}, "bos_token": null}"#,
    )
    .unwrap();
    assert_eq!(config.eos_token.as_deref(), Some("</s>"));
    assert_eq!(config.bos_token, None);
    let error = Tokenizer::from_json(TOKENIZER, config).unwrap_err();
    assert!(
        matches!(
            error,
            TokenizerError::UnknownSpecialToken {
                name: "eos_token",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn broken_files_are_errors() {
    assert!(Tokenizer::from_json(b"{}", TokenizerConfig::default()).is_err());
    assert!(Tokenizer::from_json(&TOKENIZER[..TOKENIZER.len() / 2], TokenizerConfig::default()).is_err());
    assert!(TokenizerConfig::from_json(b"[1]").is_err());
}

#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let mut file: serde_json::Value = serde_json::from_slice(TOKENIZER).unwrap();
    file["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
    let bytes = serde_json::to_vec(&file).unwrap();
    let text = "a longer text than two tokens";
    let changed = Tokenizer::from_json(&bytes, TokenizerConfig::default()).unwrap();
    assert_eq!(
        changed.encode(text, true).unwrap(),
        tokenizer().encode(text, true).unwrap()
    );
}

#[test]
fn a_split_character_is_held_back() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("🦀", false).unwrap();
    assert!(ids.len() > 1, "the tiny vocabulary has no crab");
    let mut stream = tokenizer.text_stream(false);
    for id in &ids[..ids.len() - 1] {
        assert_eq!(stream.push(*id).unwrap(), "");
    }
    assert_eq!(stream.push(ids[ids.len() - 1]).unwrap(), "🦀");
    assert_eq!(stream.finish().unwrap(), "");
    for id in &ids[..ids.len() - 1] {
        assert_eq!(stream.push(*id).unwrap(), "");
    }
    assert!(
        stream
            .finish()
            .unwrap()
            .chars()
            .all(|character| character == '\u{FFFD}')
    );
}

static TINY: LazyLock<Tokenizer> = LazyLock::new(tokenizer);

proptest! {
    #[test]
    fn the_stream_gives_the_whole_text(text in "\\PC{0,40}") {
        let tokenizer = &*TINY;
        let encoding = tokenizer.encode_with_offsets(&text, false).unwrap();
        prop_assert_eq!(&encoding.ids, &tokenizer.encode(&text, false).unwrap());
        let mut stream = tokenizer.text_stream(false);
        let mut streamed = String::new();
        for id in &encoding.ids {
            streamed += &stream.push(*id).unwrap();
        }
        streamed += &stream.finish().unwrap();
        prop_assert_eq!(&streamed, &tokenizer.decode(&encoding.ids, false).unwrap());
        prop_assert_eq!(&streamed, &text);
        for range in encoding.offsets {
            prop_assert!(text.get(range).is_some(), "offsets fall on characters");
        }
    }
}
