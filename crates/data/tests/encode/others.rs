//! Completions, texts, instructions and given tokens.

use anylora_data::{EncodeOptions, Example, IGNORED};

use crate::{QWEN_2_5, completion, conversation, encoder, plain_encoder, trained};

#[test]
fn completions_are_trained_with_eos() {
    let encoder = plain_encoder(None, EncodeOptions::default());
    let encoded = encoder.encode(&completion("Sentiment:", " good")).unwrap();
    assert_eq!(trained(&encoder, &encoded), [" good</s>"]);
    assert!(encoded.end_trained);
    assert_eq!(encoded.straddling, 0);
    let encoded = encoder.encode(&Example::Text("Some text".to_owned())).unwrap();
    assert_eq!(trained(&encoder, &encoded), ["Some text</s>"]);
    let encoded = encoder.encode(&completion("Sentiment:", "")).unwrap();
    assert_eq!(encoded.trained_tokens(), 0);
    let encoded = encoder.encode(&completion("Sentiment: ", "the one")).unwrap();
    assert_eq!(
        (trained(&encoder, &encoded), encoded.straddling),
        (vec![" the one</s>".to_owned()], 1)
    );
}

#[test]
fn bos_comes_once() {
    let encoder = plain_encoder(Some("<s>"), EncodeOptions::default());
    let bos = encoder.tokenizer().bos_id().unwrap();
    let once = encoder.encode(&completion("a", " b")).unwrap();
    assert_eq!(
        (once.input_ids[0], once.labels[0], once.doubled_bos),
        (bos, IGNORED, false)
    );
    let twice = encoder.encode(&completion("<s>a", " b")).unwrap();
    assert!(twice.doubled_bos);
    assert_eq!((&twice.input_ids, &twice.labels), (&once.input_ids, &once.labels));
    let given = Example::Tokens {
        input_ids: vec![bos, bos, 3],
        labels: None,
    };
    let given = encoder.encode(&given).unwrap();
    assert!(given.doubled_bos);
    assert_eq!(given.input_ids, [bos, bos, 3]);
}

#[test]
fn long_examples_lose_their_end() {
    let whole = plain_encoder(None, EncodeOptions::default())
        .encode(&completion("abc", " def"))
        .unwrap();
    for max_length in 1..=whole.input_ids.len() {
        let options = EncodeOptions {
            max_length: Some(max_length),
            ..EncodeOptions::default()
        };
        let cut = plain_encoder(None, options)
            .encode(&completion("abc", " def"))
            .unwrap();
        assert_eq!(cut.input_ids, whole.input_ids[..max_length]);
        assert_eq!(cut.labels, whole.labels[..max_length]);
        assert_eq!(cut.truncated, whole.input_ids.len() - max_length);
        assert_eq!(cut.end_trained, cut.truncated == 0);
    }
}

#[test]
fn an_instruction_becomes_a_conversation_or_alpacas_prompt() {
    let instruction = |input: &str| Example::Instruction {
        system: None,
        instruction: "Add".to_owned(),
        input: input.to_owned(),
        output: "2".to_owned(),
    };
    let chat = encoder(QWEN_2_5, EncodeOptions::default());
    let question = conversation(&[("user", "Add\n\n1 1"), ("assistant", "2")]);
    assert_eq!(
        chat.encode(&instruction("1 1")).unwrap(),
        chat.encode(&question).unwrap()
    );
    let plain = plain_encoder(None, EncodeOptions::default());
    let prompt = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd\n\n### Input:\n1 1\n\n### Response:\n";
    assert_eq!(
        plain.encode(&instruction("1 1")).unwrap(),
        plain.encode(&completion(prompt, "2")).unwrap()
    );
    let prompt = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd\n\n### Response:\n";
    assert_eq!(
        plain.encode(&instruction("")).unwrap(),
        plain.encode(&completion(prompt, "2")).unwrap()
    );
}
