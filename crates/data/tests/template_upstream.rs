//! Chat templates of Llama 3, Qwen 2.5 and 3, Mistral and SmolLM2 against what transformers renders
//! (`fixtures/templates/README.md` says how that was made).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, fs, path::Path};

use anylora_data::{ChatTemplate, Message, RenderOptions, TemplateError, TokenizerConfig};

#[derive(serde::Deserialize)]
struct Case {
    template: String,
    special_tokens: BTreeMap<String, String>,
    conversation: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    expected: Option<String>,
    assistant: Option<Vec<String>>,
    refused: Option<String>,
}

#[test]
fn every_conversation_renders_as_in_transformers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates");
    let cases: Vec<Case> =
        serde_json::from_str(&fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 8 * 6 * 2);
    let mut wrong = Vec::new();
    for case in &cases {
        let source = fs::read_to_string(folder.join(format!("{}.jinja", case.template))).unwrap();
        let token = |name: &str| case.special_tokens.get(name).cloned();
        let config = TokenizerConfig {
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            pad_token: token("pad_token"),
            ..TokenizerConfig::default()
        };
        let now = jiff::civil::date(2026, 11, 4).at(9, 30, 0, 0);
        let template = ChatTemplate::new(&source, &config).unwrap().with_now(now);
        assert_eq!(
            template.has_generation_blocks(),
            case.template.ends_with("-generation")
        );
        let options = RenderOptions {
            add_generation_prompt: case.add_generation_prompt,
            ..RenderOptions::default()
        };
        let place = format!(
            "{} / {} / {}",
            case.template, case.conversation, case.add_generation_prompt
        );
        match (
            template.render_with_spans(&case.messages, &options),
            &case.expected,
            &case.refused,
        ) {
            (Ok((text, spans)), Some(expected), None) => {
                if text != *expected {
                    wrong.push(format!("{place}: expected {expected:?}, found {text:?}"));
                }
                let assistant: Vec<_> = spans.into_iter().map(|span| text[span].to_owned()).collect();
                if assistant != case.assistant.clone().unwrap_or_default() {
                    wrong.push(format!(
                        "{place}: spans {:?}, found {assistant:?}",
                        case.assistant
                    ));
                }
            }
            (Err(TemplateError::Refused(message)), None, Some(refused)) if message == *refused => {}
            (found, _, _) => wrong.push(format!("{place}: found {found:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
