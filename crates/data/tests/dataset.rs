//! Data files: every kind and format, places of faults, and records by index against a whole read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_data::{DataError, Dataset, Example, FileKind, Format, Message};
use proptest::prelude::*;

fn dataset(name: &str, text: &str) -> Dataset {
    Dataset::from_bytes(name, text.as_bytes(), None).unwrap()
}

fn examples(dataset: &Dataset) -> Vec<Example> {
    dataset.examples().collect::<Result<_, _>>().unwrap()
}

fn only(text: &str) -> (Format, Example) {
    let dataset = dataset("a.jsonl", text);
    assert_eq!(dataset.len(), 1);
    (dataset.format(), dataset.example(0).unwrap())
}

fn error(name: &str, text: &str) -> String {
    let opened = Dataset::from_bytes(name, text.as_bytes(), None);
    let faults: Vec<DataError> = match opened {
        Ok(dataset) => dataset.examples().filter_map(Result::err).collect(),
        Err(error) => vec![error],
    };
    assert!(!faults.is_empty(), "no fault found in {text:?}");
    assert!(faults.iter().all(|fault| fault.hint().is_some()));
    faults
        .iter()
        .map(DataError::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn conversation(messages: &[(&str, &str)], trained_from: usize) -> Example {
    let messages = messages
        .iter()
        .map(|(role, content)| Message::new(*role, *content))
        .collect();
    Example::Conversation {
        messages,
        trained_from,
    }
}

#[test]
fn formats_are_recognised_by_their_keys() {
    let messages = r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}], "id": 7}"#;
    assert_eq!(
        only(messages),
        (
            Format::Messages,
            conversation(&[("user", "Hi"), ("assistant", "Hello")], 0)
        )
    );
    let sharegpt = r#"{"system": "S", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}"#;
    let turns = [("system", "S"), ("user", "Hi"), ("assistant", "Hello")];
    assert_eq!(only(sharegpt), (Format::ShareGpt, conversation(&turns, 0)));
    let alpaca = r#"{"instruction": "Add", "input": "1 1", "output": "2"}"#;
    let (instruction, input, output) = ("Add".to_owned(), "1 1".to_owned(), "2".to_owned());
    assert_eq!(
        only(alpaca),
        (
            Format::Alpaca,
            Example::Instruction {
                system: None,
                instruction,
                input,
                output
            }
        )
    );
    let (prompt, completion) = ("a".to_owned(), " b".to_owned());
    assert_eq!(
        only(r#"{"prompt": "a", "completion": " b", "label": 1}"#),
        (
            Format::PromptCompletion,
            Example::Completion { prompt, completion }
        )
    );
    let lists = r#"{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}"#;
    assert_eq!(
        only(lists),
        (
            Format::PromptCompletion,
            conversation(&[("user", "a"), ("assistant", "b")], 1)
        )
    );
    assert_eq!(
        only(r#"{"text": "t"}"#),
        (Format::Text, Example::Text("t".to_owned()))
    );
    assert_eq!(
        only(r#"{"input_ids": [1, 2], "labels": [-100, 2]}"#),
        (
            Format::Tokens,
            Example::Tokens {
                input_ids: vec![1, 2],
                labels: Some(vec![-100, 2])
            }
        )
    );
}

#[test]
fn a_given_format_wins() {
    let text = r#"{"text": "t", "prompt": "p", "completion": "c"}"#;
    assert_eq!(only(text).0, Format::PromptCompletion);
    let dataset = Dataset::from_bytes("a.jsonl", text.as_bytes(), Some("text".parse().unwrap())).unwrap();
    assert_eq!(dataset.example(0).unwrap(), Example::Text("t".to_owned()));
    assert!(
        "txt"
            .parse::<Format>()
            .unwrap_err()
            .to_string()
            .contains("prompt-completion")
    );
    for (name, format) in Format::NAMES {
        assert_eq!(format.to_string(), name);
    }
}

#[test]
fn an_array_is_read_as_its_elements() {
    let text = " [\n {\"text\": \"a, ] \\\" \\\\\"},\n\n {\"text\": \n \"b\", \"more\": [{}, [1]]} ,{\"text\":\"c\"}\n]\n";
    let dataset = dataset("a.json", text);
    assert_eq!(dataset.kind(), FileKind::JsonArray);
    let texts = ["a, ] \" \\", "b", "c"].map(|text| Example::Text(text.to_owned()));
    assert_eq!(examples(&dataset), texts);
    assert_eq!([dataset.line(0), dataset.line(1), dataset.line(2)], [2, 4, 5]);
}

#[test]
fn a_file_named_json_may_hold_lines() {
    let dataset = dataset("a.json", "\u{FEFF}{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}");
    assert_eq!(dataset.kind(), FileKind::JsonLines);
    assert_eq!(
        examples(&dataset),
        ["a", "b"].map(|text| Example::Text(text.to_owned()))
    );
    assert_eq!(dataset.line(1), 3);
}

#[test]
fn tables_take_their_keys_from_the_first_row() {
    let completion = |prompt: &str, completion: &str| Example::Completion {
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
    };
    let csv = dataset(
        "a.csv",
        "\u{FEFF}prompt,completion\n\"a, \"\"b\"\"\nc\",d\n\ne,f\n",
    );
    assert_eq!(
        examples(&csv),
        [completion("a, \"b\"\nc", "d"), completion("e", "f")]
    );
    assert_eq!([csv.line(0), csv.line(1)], [2, 5]);
    let tsv = dataset("a.tsv", "id\tcompletion\tprompt\r\n1\td\ta, b\r\n2\tf\te\r\n");
    assert_eq!(examples(&tsv), [completion("a, b", "d"), completion("e", "f")]);
}

#[test]
fn plain_text_is_read_by_paragraphs() {
    let dataset = dataset("a.txt", "\n one\ntwo  \n\n \n\nthree\r\nfour");
    assert_eq!(
        examples(&dataset),
        [" one\ntwo", "three\nfour"].map(|text| Example::Text(text.to_owned()))
    );
    assert_eq!([dataset.line(0), dataset.line(1)], [2, 7]);
}

#[test]
fn faults_name_file_line_and_what_was_expected() {
    let text = "{\"text\": \"a\"}\n\n{\"text\": 5}\n{\"txt\": \"b\"}\n{\"text\": \"c\"\n[1]\n";
    let found = error("d/a.jsonl", text);
    let lines: Vec<_> = found.lines().collect();
    assert_eq!(lines.len(), 4, "{found}");
    assert!(
        lines[0].starts_with("d/a.jsonl:3: expected a string in `text` (format text), found a number"),
        "{found}"
    );
    assert!(
        lines[1]
            .starts_with("d/a.jsonl:4: expected a string in `text` (format text), found only the keys txt")
    );
    assert!(
        lines[2].starts_with("d/a.jsonl:5: column 12: EOF while parsing an object"),
        "{found}"
    );
    assert!(
        lines[3].starts_with("d/a.jsonl:6: expected an object (format text), found a list"),
        "{found}"
    );
}

#[test]
fn faults_of_other_kinds() {
    assert!(error("a.jsonl", "{\"question\": \"a\", \"b\": 1}").contains("keys question, b"));
    assert!(error("a.jsonl", " \n").contains("no records"));
    assert!(error("a.json", "[]").contains("no records"));
    assert!(error("a.json", "[{\"text\": \"a\"}").starts_with("a.json:1: column 1: the file ends inside"));
    assert!(error("a.json", "[{\"text\": \"a\"},\n]").starts_with("a.json:2: column 1: a comma"));
    assert!(error("a.json", "[{\"text\": \"a\"}]\n x").starts_with("a.json:2: column 2: text outside"));
    assert!(
        error("a.json", "[{\"text\": \"a\"},\n{\"text\":\n b}]")
            .starts_with("a.json:3: column 2: expected value")
    );
    assert!(error("a.csv", "text,n\na,1\nb\n").starts_with("a.csv:3: expected 2 columns, found 1"));
    assert!(error("a.csv", "text,n\na,\"1\nb\n").starts_with("a.csv:2: a quote is never closed"));
    assert!(error("a.csv", "text,n, text\na,1,b\n").starts_with("a.csv:1: two columns are called \"text\""));
    assert!(error("a.jsonl", "{\"messages\": []}").contains("an empty list"));
    assert!(
        error(
            "a.jsonl",
            "{\"conversations\": [{\"from\": \"me\", \"value\": \"\"}]}"
        )
        .contains("\"me\"")
    );
    assert!(error("a.jsonl", "{\"input_ids\": [1, -2]}").contains("found -2"));
    assert!(
        error("a.jsonl", "{\"input_ids\": [1], \"labels\": []}").contains("as many labels as input_ids (1)")
    );
    let image = r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}"#;
    assert!(error("a.jsonl", image).contains("expected text content"));
    let bytes = Dataset::from_bytes("a.txt", &b"good\n\nbad \xFF"[..], None).unwrap();
    let found = bytes.example(1).unwrap_err().to_string();
    assert!(
        found.starts_with("a.txt:3: byte 5 of the record is not UTF-8"),
        "{found}"
    );
}

#[test]
fn a_missing_file_is_an_error() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        Dataset::open(&path.join("missing.jsonl"), None)
            .unwrap_err()
            .to_string()
            .contains("can't be read")
    );
    assert!(
        Dataset::open(path, None)
            .unwrap_err()
            .to_string()
            .contains("can't be read")
    );
    let sample = Dataset::open(&path.join("tests/fixtures/movie-snippets/sample.jsonl"), None).unwrap();
    assert_eq!((sample.len(), sample.format()), (12, Format::PromptCompletion));
}

/// A JSON value that a record may hold.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[\\PC\n\t\"\\\\\\[\\]{},]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[\\PC\"]{0,4}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// What is read by offset, in any order, equals what a parser makes of the whole file.
    #[test]
    fn records_by_index_equal_the_whole_read(
        values in prop::collection::vec(json(), 1..12),
        pretty in any::<bool>(),
        blank in 0..3_usize,
    ) {
        let write = |value: &serde_json::Value| if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        let array = format!("[{}]", values.iter().map(|value| write(value).unwrap()).collect::<Vec<_>>().join(" ,\n"));
        let whole: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
        let array = Dataset::from_bytes("a.json", array.into_bytes(), Some(Format::Text)).unwrap();
        let lines: String = values.iter().map(|value| format!("{value}\n{}", "\n".repeat(blank))).collect();
        let lines = Dataset::from_bytes("a.ndjson", format!("{{}}\n{lines}").into_bytes(), Some(Format::Text)).unwrap();
        prop_assert_eq!(array.len(), whole.len());
        prop_assert_eq!(lines.len(), whole.len() + 1);
        for (index, value) in whole.iter().enumerate().rev() {
            prop_assert_eq!(&array.value(index).unwrap(), value);
            prop_assert_eq!(&lines.value(index + 1).unwrap(), value);
            prop_assert_eq!(lines.line(index + 1), 2 + (index * (blank + 1)) as u64);
        }
    }

    /// Tables too, whatever their cells hold.
    #[test]
    fn rows_by_index_equal_the_whole_read(
        cells in prop::collection::vec(("[\\PC\n\r\",\t]{0,10}", "[\\PC\n\",\t]{1,10}"), 1..12),
        tab in any::<bool>(),
    ) {
        let separator = if tab { b'\t' } else { b',' };
        let mut writer = csv::WriterBuilder::new().delimiter(separator).from_writer(Vec::new());
        writer.write_record(["prompt", "completion"]).unwrap();
        for (prompt, completion) in &cells {
            writer.write_record([prompt, completion]).unwrap();
        }
        let name = if tab { "a.tsv" } else { "a.csv" };
        let dataset = Dataset::from_bytes(name, writer.into_inner().unwrap(), None).unwrap();
        prop_assert_eq!(dataset.len(), cells.len());
        for (index, (prompt, completion)) in cells.iter().enumerate().rev() {
            let expected = Example::Completion { prompt: prompt.clone(), completion: completion.clone() };
            prop_assert_eq!(dataset.example(index).unwrap(), expected);
        }
    }

    /// No input makes it panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), name in "a\\.(json|jsonl|csv|tsv|txt)") {
        if let Ok(dataset) = Dataset::from_bytes(&name, bytes, None) {
            for example in dataset.examples() {
                drop(example);
            }
        }
    }

    #[test]
    fn any_brackets_are_read_or_refused(text in "\\[[\\[\\]{},\": \na1]{0,24}") {
        let opened = Dataset::from_bytes("a.json", text.clone().into_bytes(), Some(Format::Text));
        let read = opened.ok().and_then(|dataset| (0..dataset.len()).map(|index| dataset.value(index).ok()).collect::<Option<Vec<_>>>());
        let whole: Option<Vec<serde_json::Value>> = serde_json::from_str(&text).ok().filter(|whole: &Vec<_>| !whole.is_empty());
        if whole.is_some() {
            prop_assert_eq!(read, whole);
        }
    }
}
