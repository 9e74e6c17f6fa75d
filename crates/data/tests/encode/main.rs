//! Tokens and labels: which tokens are trained, against transformers' masks and against the text itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod others;
mod properties;

use std::collections::BTreeMap;

use anylora_data::{
    ChatTemplate, EncodeError, EncodeOptions, Encoded, Encoder, Example, IGNORED, Message, Tokenizer,
    TokenizerConfig, TrainOn,
};

const TOKENIZER: &[u8] = include_bytes!("../fixtures/masks/tokenizer.json");

const LLAMA_3: &str = include_str!("../fixtures/templates/llama-3.jinja");
const LLAMA_3_GENERATION: &str = include_str!("../fixtures/templates/llama-3-generation.jinja");
const QWEN_2_5: &str = include_str!("../fixtures/templates/qwen-2.5.jinja");
const QWEN_2_5_GENERATION: &str = include_str!("../fixtures/templates/qwen-2.5-generation.jinja");
const QWEN_3: &str = include_str!("../fixtures/templates/qwen-3.jinja");
const MISTRAL: &str = include_str!("../fixtures/templates/mistral-nemo.jinja");
const SMOLLM2: &str = include_str!("../fixtures/templates/smollm2.jinja");

fn config(bos: Option<&str>, eos: &str) -> TokenizerConfig {
    TokenizerConfig {
        bos_token: bos.map(str::to_owned),
        eos_token: Some(eos.to_owned()),
        ..TokenizerConfig::default()
    }
}

fn encoder_of(template: &str, config: TokenizerConfig, options: EncodeOptions) -> Encoder {
    let template = ChatTemplate::new(template, &config).unwrap();
    Encoder::new(
        Tokenizer::from_json(TOKENIZER, config).unwrap(),
        Some(template),
        options,
    )
    .unwrap()
}

fn encoder(template: &str, options: EncodeOptions) -> Encoder {
    let config = match template {
        LLAMA_3 | LLAMA_3_GENERATION => config(Some("<|begin_of_text|>"), "<|eot_id|>"),
        MISTRAL => config(Some("<s>"), "</s>"),
        SMOLLM2 => config(Some("<|im_start|>"), "<|im_end|>"),
        _ => config(None, "<|im_end|>"),
    };
    encoder_of(template, config, options)
}

/// No chat template; with `bos`, a tokenizer that opens every text with it.
fn plain_encoder(bos: Option<&str>, options: EncodeOptions) -> Encoder {
    let mut file: serde_json::Value = serde_json::from_slice(TOKENIZER).unwrap();
    let tokenizer = Tokenizer::from_json(TOKENIZER, TokenizerConfig::default()).unwrap();
    if let Some(bos) = bos {
        let id = tokenizer.token_to_id(bos).unwrap();
        file["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [id], "tokens": [bos]}},
        });
    }
    let tokenizer = Tokenizer::from_json(&serde_json::to_vec(&file).unwrap(), config(bos, "</s>")).unwrap();
    Encoder::new(tokenizer, None, options).unwrap()
}

fn conversation(messages: &[(&str, &str)]) -> Example {
    let messages = messages
        .iter()
        .map(|(role, content)| Message::new(*role, *content))
        .collect();
    Example::Conversation {
        messages,
        trained_from: 0,
    }
}

/// The text of the trained tokens, one piece a run.
fn trained(encoder: &Encoder, encoded: &Encoded) -> Vec<String> {
    let runs = encoded
        .labels
        .split(|label| *label == IGNORED)
        .filter(|run| !run.is_empty());
    let ids = runs.map(|run| run.iter().map(|label| label.cast_unsigned()).collect::<Vec<_>>());
    ids.map(|ids| encoder.tokenizer().decode(&ids, false).unwrap())
        .collect()
}

fn completion(prompt: &str, completion: &str) -> Example {
    Example::Completion {
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
    }
}

#[derive(serde::Deserialize)]
struct MaskCase {
    template: String,
    special_tokens: BTreeMap<String, String>,
    messages: Vec<Message>,
    input_ids: Vec<u32>,
    mask: Vec<u8>,
}

#[test]
fn generation_blocks_give_the_masks_of_transformers() {
    let cases: Vec<MaskCase> = serde_json::from_str(include_str!("../fixtures/masks/masks.json")).unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let template = if case.template.starts_with("llama") {
            LLAMA_3_GENERATION
        } else {
            QWEN_2_5_GENERATION
        };
        let token = |name: &str| case.special_tokens.get(name).cloned();
        let config = TokenizerConfig {
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            ..TokenizerConfig::default()
        };
        let encoder = encoder_of(template, config, EncodeOptions::default());
        let example = Example::Conversation {
            messages: case.messages.clone(),
            trained_from: 0,
        };
        let encoded = encoder.encode(&example).unwrap();
        assert_eq!(encoded.input_ids, case.input_ids);
        let mask: Vec<u8> = encoded
            .labels
            .iter()
            .map(|label| u8::from(*label != IGNORED))
            .collect();
        assert_eq!(mask, case.mask, "{} {:?}", case.template, case.messages);
        if case.template.starts_with("llama") {
            // Found without the blocks, the answers are the same.
            let found = self::encoder(LLAMA_3, EncodeOptions::default())
                .encode(&example)
                .unwrap();
            assert_eq!(
                (found.input_ids, found.labels),
                (encoded.input_ids, encoded.labels)
            );
        }
    }
}

#[test]
fn the_end_of_turn_is_known() {
    for (template, end) in [
        (LLAMA_3, "<|eot_id|>"),
        (LLAMA_3_GENERATION, "<|eot_id|>"),
        (QWEN_2_5, "<|im_end|>"),
        (QWEN_3, "<|im_end|>"),
        (SMOLLM2, "<|im_end|>"),
        (MISTRAL, "</s>"),
    ] {
        let encoder = encoder(template, EncodeOptions::default());
        assert_eq!(encoder.end_ids(), [encoder.tokenizer().token_to_id(end).unwrap()]);
    }
}

#[test]
fn a_template_that_moves_the_system_prompt_is_still_masked() {
    let encoder = encoder(MISTRAL, EncodeOptions::default());
    let messages = [
        ("system", "S"),
        ("user", "a"),
        ("assistant", "first a"),
        ("user", "a"),
        ("assistant", "a second"),
    ];
    let encoded = encoder.encode(&conversation(&messages)).unwrap();
    assert!(encoded.unstable_template);
    assert_eq!(trained(&encoder, &encoded), ["first a</s>", "a second</s>"]);
    let encoded = encoder.encode(&conversation(&messages[1..])).unwrap();
    assert!(!encoded.unstable_template);
    assert_eq!(trained(&encoder, &encoded), ["first a</s>", "a second</s>"]);
}

#[test]
fn a_template_that_drops_thoughts_leaves_those_turns_untrained() {
    let encoder = encoder(QWEN_3, EncodeOptions::default());
    let thought = "<think>\nhm\n</think>\n\nyes";
    let messages = [
        ("user", "a"),
        ("assistant", thought),
        ("user", "b"),
        ("assistant", thought),
    ];
    let encoded = encoder.encode(&conversation(&messages)).unwrap();
    assert_eq!((encoded.lost_turns, encoded.unstable_template), (1, true));
    assert_eq!(trained(&encoder, &encoded), [format!("{thought}<|im_end|>")]);
    let encoded = encoder
        .encode(&conversation(&[
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
            ("assistant", "d"),
        ]))
        .unwrap();
    assert_eq!(encoded.lost_turns, 0);
    assert_eq!(
        trained(&encoder, &encoded),
        ["b<|im_end|>", "<think>\n\n</think>\n\nd<|im_end|>"]
    );
}

#[test]
fn some_turns_can_be_left_out() {
    let encoder = encoder(QWEN_2_5, EncodeOptions::default());
    let mut messages: Vec<Message> = ["user", "assistant", "user", "assistant"]
        .iter()
        .map(|role| Message::new(*role, "x y"))
        .collect();
    let from_the_second = Example::Conversation {
        messages: messages.clone(),
        trained_from: 2,
    };
    let encoded = encoder.encode(&from_the_second).unwrap();
    assert_eq!(trained(&encoder, &encoded), ["x y<|im_end|>"]);
    messages[3].extra.insert("weight".to_owned(), 0.into());
    let encoded = encoder
        .encode(&Example::Conversation {
            messages,
            trained_from: 0,
        })
        .unwrap();
    assert_eq!(trained(&encoder, &encoded), ["x y<|im_end|>"]);
    let last = encoded
        .labels
        .iter()
        .rposition(|label| *label != IGNORED)
        .unwrap();
    let after = &encoded.input_ids[last + 1..];
    assert!(
        after.contains(&encoder.end_ids()[0]),
        "the first answer is the trained one"
    );
}

#[test]
fn all_trains_everything() {
    let options = EncodeOptions {
        train_on: TrainOn::All,
        max_length: None,
    };
    let encoder = encoder(QWEN_2_5, options);
    let encoded = encoder
        .encode(&conversation(&[("user", "a"), ("assistant", "b")]))
        .unwrap();
    let ids: Vec<_> = encoded.labels.iter().map(|label| label.cast_unsigned()).collect();
    assert_eq!(ids, encoded.input_ids);
    assert_eq!(encoded.trained_tokens(), encoded.input_ids.len() - 1);
    assert!(encoded.end_trained);
}

#[test]
fn a_template_without_an_end_of_turn_is_given_eos() {
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    let encoder = encoder(source, EncodeOptions::default());
    let encoded = encoder
        .encode(&conversation(&[("user", "a"), ("assistant", "b")]))
        .unwrap();
    assert_eq!(trained(&encoder, &encoded), [" b\n<|im_end|>"]);
    assert!(encoded.end_trained);
}

#[test]
fn what_cannot_be_encoded_is_an_error() {
    let plain = plain_encoder(None, EncodeOptions::default());
    let error = plain
        .encode(&conversation(&[("user", "a"), ("assistant", "b")]))
        .unwrap_err();
    assert!(matches!(error, EncodeError::NoTemplate));
    for (input_ids, labels) in [
        (vec![1, 9999], None),
        (vec![1, 2], Some(vec![-100, 9999])),
        (vec![1, 2], Some(vec![-1, 2])),
    ] {
        let error = plain.encode(&Example::Tokens { input_ids, labels }).unwrap_err();
        assert!(matches!(error, EncodeError::UnknownToken { .. }), "{error}");
    }
    let mistral = encoder(MISTRAL, EncodeOptions::default());
    let error = mistral
        .encode(&conversation(&[("user", "a"), ("user", "b")]))
        .unwrap_err();
    assert!(error.to_string().contains("must alternate"), "{error}");
}
