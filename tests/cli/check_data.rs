//! `anylora check-data`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::run;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn model() -> String {
    repository()
        .join("tests/fixtures/tiny/tiny-llama")
        .display()
        .to_string()
}

fn data(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    (folder, file.display().to_string())
}

#[test]
fn good_data_is_shown_with_what_is_trained() {
    let file = repository().join("examples/movie_snippets_test.jsonl");
    let file = file.to_str().unwrap();
    let (text, _) = run(&["check-data", file, "--model", &model(), "--show", "2"], 0);
    assert!(
        text.contains("400, 400 of them with something to train"),
        "{text}"
    );
    assert!(text.contains("Nothing wrong was found."), "{text}");
    assert_eq!(text.matches("<|im_end|>■»").count(), 2, "{text}");
    let (json, _) = run(
        &["check-data", file, "--model", &model(), "--show", "1", "--json"],
        0,
    );
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["ok"], &report["records"]),
        (&Value::Bool(true), &400.into())
    );
    assert_eq!(report["examples"][0]["line"], 1);
    let pieces = report["examples"][0]["pieces"].as_array().unwrap();
    let last = pieces.last().unwrap();
    assert!(last["trained"] == true && last["ends"] == true, "{last}");
}

#[test]
fn data_that_would_train_wrong_ends_with_1() {
    let text = "{\"prompt\": \"a\", \"completion\": \" b\"}\n{\"prompt\": \"a\", \"completion\": \"\"}\n{\"prompt\": \"a\"}\n";
    let (_folder, file) = data("bad.jsonl", text);
    let (text, error) = run(&["check-data", &file, "--model", &model()], 1);
    assert!(text.contains("1 record: no trained token (line 2)"), "{text}");
    assert!(text.contains("1 record: can't be used (line 3)"), "{text}");
    assert!(
        text.contains("bad.jsonl:3: expected a string in `completion`"),
        "{text}"
    );
    assert!(error.contains("would be wrong"), "{error}");
    let (json, _) = run(&["check-data", &file, "--model", &model(), "--json"], 1);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["ok"], false);
    let kinds: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| &found["kind"])
        .collect();
    assert_eq!(kinds, ["bad_record", "nothing_trained"]);
}

#[test]
fn what_cannot_be_opened_is_a_wrong_request() {
    let (_folder, file) = data("a.jsonl", "{\"text\": \"a\"}\n");
    let (_, error) = run(&["check-data", "missing.jsonl", "--model", &model()], 2);
    assert!(
        error.contains("missing.jsonl") && error.contains("hint: ls -l missing.jsonl"),
        "{error}"
    );
    let (_, error) = run(&["check-data", &file, "--model", "missing"], 2);
    assert!(error.contains("missing"), "{error}");
    let (_, error) = run(&["check-data", &file, "--model", &model(), "--format", "chat"], 2);
    assert!(error.contains("sharegpt"), "{error}");
}
