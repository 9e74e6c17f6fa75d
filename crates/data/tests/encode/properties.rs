//! For any conversation or completion, what is trained is what was said and its end.

use std::sync::LazyLock;

use anylora_data::{EncodeOptions, Encoder, Example, IGNORED, Message};
use proptest::prelude::*;

use crate::{
    LLAMA_3, LLAMA_3_GENERATION, MISTRAL, QWEN_2_5, SMOLLM2, completion, encoder, plain_encoder, trained,
};

static PLAIN: LazyLock<Encoder> = LazyLock::new(|| plain_encoder(Some("<s>"), EncodeOptions::default()));

static CHAT: LazyLock<Vec<(&str, Encoder)>> = LazyLock::new(|| {
    let templates = [LLAMA_3, QWEN_2_5, SMOLLM2, MISTRAL, LLAMA_3_GENERATION];
    templates
        .map(|template| (template, encoder(template, EncodeOptions::default())))
        .to_vec()
});

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[\\PC\n]{0,12}", "[a-z ]{0,24}"]
}

proptest! {
    /// The trained tokens are what the assistant says and the end of its turn, exactly.
    #[test]
    fn the_assistants_text_is_trained_and_nothing_else(
        system in prop::option::of(text()),
        turns in prop::collection::vec((text(), text()), 1..4),
        asked_again in prop::option::of(text()),
    ) {
        for (template, encoder) in CHAT.iter() {
            let mut messages: Vec<Message> = system.iter().map(|text| Message::new("system", text)).collect();
            for (question, answer) in &turns {
                messages.push(Message::new("user", question));
                messages.push(Message::new("assistant", answer));
            }
            messages.extend(asked_again.iter().map(|text| Message::new("user", text)));
            let encoded = encoder.encode(&Example::Conversation { messages, trained_from: 0 }).unwrap();
            prop_assert_eq!(encoded.lost_turns, 0);
            prop_assert_eq!(encoded.labels.len(), encoded.input_ids.len());
            for (id, label) in encoded.input_ids.iter().zip(&encoded.labels) {
                prop_assert!(*label == IGNORED || label.cast_unsigned() == *id);
            }
            let (trims, end) = match *template {
                LLAMA_3 | LLAMA_3_GENERATION => (true, "<|eot_id|>"),
                MISTRAL => (false, "</s>"),
                _ => (false, "<|im_end|>"),
            };
            let expected = turns.iter().map(|(_, answer)| format!("{}{end}", if trims { answer.trim() } else { answer }));
            let found = trained(encoder, &encoded);
            prop_assert_eq!(found.len(), turns.len());
            let mut straddling = 0;
            for (found, expected) in found.into_iter().zip(expected) {
                prop_assert!(found.ends_with(&expected), "{:?} {:?}", found, expected);
                straddling += usize::from(found != expected);
            }
            prop_assert_eq!(straddling, encoded.straddling);
            prop_assert!(encoded.end_trained);
        }
    }

    /// A completion's tokens are trained, its prompt's are not.
    #[test]
    fn the_completion_is_trained_and_nothing_else(prompt in text(), answer in "[\\PC\n]{1,12}") {
        let encoder = &*PLAIN;
        let encoded = encoder.encode(&completion(&prompt, &answer)).unwrap();
        let found = trained(encoder, &encoded);
        prop_assert_eq!(found.len(), 1);
        let expected = format!("{answer}</s>");
        prop_assert!(found[0].ends_with(&expected));
        prop_assert_eq!(found[0] == expected, encoded.straddling == 0);
        let whole = encoder.tokenizer().decode(&encoded.input_ids, false).unwrap();
        prop_assert_eq!(whole, format!("<s>{prompt}{answer}</s>"));
    }
}
