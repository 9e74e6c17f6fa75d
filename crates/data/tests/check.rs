//! What `check` finds in data files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_data::{
    ChatTemplate, Dataset, EncodeOptions, Encoder, FindingKind, Report, Tokenizer, TokenizerConfig, check,
    pieces,
};

const TOKENIZER: &[u8] = include_bytes!("fixtures/tiny-tokenizer/tokenizer.json");
const CONFIG: &[u8] = include_bytes!("fixtures/tiny-tokenizer/tokenizer_config.json");
const TEMPLATE: &str = include_str!("fixtures/tiny-tokenizer/chat_template.jinja");

fn encoder(config: TokenizerConfig, max_length: Option<usize>) -> Encoder {
    let tokenizer = Tokenizer::from_json(TOKENIZER, config.clone()).unwrap();
    let options = EncodeOptions {
        max_length,
        ..EncodeOptions::default()
    };
    Encoder::new(
        tokenizer,
        Some(ChatTemplate::new(TEMPLATE, &config).unwrap()),
        options,
    )
    .unwrap()
}

fn tiny() -> TokenizerConfig {
    TokenizerConfig::from_json(CONFIG).unwrap()
}

fn report(text: &str, encoder: &Encoder) -> Report {
    check(
        &Dataset::from_bytes("d.jsonl", text.as_bytes(), None).unwrap(),
        encoder,
        |_| (),
    )
}

fn found(report: &Report) -> Vec<(FindingKind, Vec<u64>)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.lines.clone()))
        .collect()
}

#[test]
fn a_good_file_has_no_findings() {
    let text = include_str!("fixtures/movie-snippets/sample.jsonl");
    let report = report(text, &encoder(tiny(), None));
    assert_eq!(found(&report), []);
    assert!(!report.is_error());
    assert_eq!((report.records, report.trainable_records), (12, 12));
    let histogram = &report.lengths.histogram;
    assert_eq!(histogram.iter().map(|bucket| bucket.records).sum::<usize>(), 12);
    assert!(report.trained_tokens >= 24 && report.trained_tokens < report.tokens / 4);
}

#[test]
fn bad_lines_are_all_named() {
    let text = "{\"prompt\": \"a\", \"completion\": \" b\"}\n{\"prompt\": 1}\n{\"prompt\": \"a\", \"completion\": \"\"}\n{\"prompt\": \"a\", \"completion\": \" b\"}\n[\n";
    let report = report(text, &encoder(tiny(), None));
    assert!(report.is_error());
    let expected = [
        (FindingKind::BadRecord, vec![2, 5]),
        (FindingKind::NothingTrained, vec![3]),
        (FindingKind::Duplicate, vec![4]),
    ];
    assert_eq!(found(&report), expected);
    assert!(report.findings[0].messages[0].starts_with("d.jsonl:2: expected a string in `prompt`"));
    assert!(report.findings[0].messages[1].starts_with("d.jsonl:5: column 1: EOF"));
    assert_eq!(
        report.findings[0].to_string(),
        "2 records: can't be used (lines 2, 5)"
    );
    assert_eq!((report.records, report.trainable_records), (5, 2));
}

#[test]
fn truncation_is_counted() {
    let text = "{\"prompt\": \"abcdefgh ijkl\", \"completion\": \" xyz xyz xyz\"}\n{\"prompt\": \"a\", \"completion\": \" b\"}\n";
    let whole = report(text, &encoder(tiny(), None));
    let max_length = whole.lengths.max - 2;
    let cut = report(text, &encoder(tiny(), Some(max_length)));
    assert_eq!(found(&cut), [(FindingKind::Truncated, vec![1])]);
    assert!(!cut.is_error());
    assert_eq!(cut.truncated_tokens, 2);
    assert_eq!(cut.lengths, whole.lengths);
    let cut = report(text, &encoder(tiny(), Some(4)));
    assert_eq!(found(&cut)[0], (FindingKind::NothingTrained, vec![1]));
    assert!(cut.is_error());
}

#[test]
fn a_model_that_would_never_stop_is_an_error() {
    let text = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
    let without = TokenizerConfig {
        eos_token: None,
        ..tiny()
    };
    let tokenizer = Tokenizer::from_json(TOKENIZER, without).unwrap();
    let encoder = Encoder::new(tokenizer, None, EncodeOptions::default()).unwrap();
    let report = report(text, &encoder);
    assert_eq!(found(&report), [(FindingKind::NeverEnds, vec![1, 2])]);
    assert!(report.is_error());
}

#[test]
fn given_tokens_are_checked_too() {
    let encoder = encoder(tiny(), None);
    let bos = encoder.tokenizer().bos_id().unwrap();
    let eos = encoder.tokenizer().eos_id().unwrap();
    let record = |ids: &[u32]| format!("{}\n", serde_json::json!({"input_ids": ids}));
    let text = [
        record(&[bos, 10, eos]),
        record(&[bos, bos, 10, eos]),
        record(&[bos, 10, 11]),
    ]
    .concat();
    let report = report(&text, &encoder);
    assert_eq!(
        found(&report),
        [(FindingKind::DoubledBos, vec![2]), (FindingKind::NoEnd, vec![3])]
    );
    assert!(report.is_error());
}

#[test]
fn pieces_are_the_whole_text_with_trained_runs_apart() {
    let encoder = encoder(tiny(), None);
    let text = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Yes\"}]}";
    let dataset = Dataset::from_bytes("d.jsonl", text.as_bytes(), None).unwrap();
    let encoded = encoder.encode(&dataset.example(0).unwrap()).unwrap();
    let pieces = pieces(&encoder, &encoded).unwrap();
    let shown: Vec<_> = pieces
        .iter()
        .map(|piece| (piece.text.as_str(), piece.trained, piece.ends))
        .collect();
    let expected = [
        ("<|im_start|>", false, false),
        ("user\nHi", false, false),
        ("<|im_end|>", false, true),
        ("\n", false, false),
        ("<|im_start|>", false, false),
        ("assistant\n", false, false),
        ("Yes", true, false),
        ("<|im_end|>", true, true),
        ("\n", false, false),
    ];
    assert_eq!(shown, expected);
    assert_eq!(
        pieces.iter().map(|piece| piece.tokens).sum::<usize>(),
        encoded.input_ids.len()
    );
    let trained: usize = pieces
        .iter()
        .filter(|piece| piece.trained)
        .map(|piece| piece.tokens)
        .sum();
    assert_eq!(trained, encoded.trained_tokens());
}
