//! `anylora evaluate` where the model answers in texts: against `anylora generate`, killed and gone on with.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::run;

fn model() -> String {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny/tiny-llama");
    model.display().to_string()
}

fn evaluate(data: &Path, more: &[&str]) -> Value {
    let (model, data) = (model(), data.display().to_string());
    let arguments = [
        "evaluate", "--device", "cpu", "--json", "--model", &model, "--data", &data,
    ];
    serde_json::from_str(&run(&[&arguments[..], more].concat(), 0).0).unwrap()
}

/// The answers in a file, by their ids.
fn answers(file: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(file).unwrap();
    let records = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
    let mut answers: Vec<_> = records
        .map(|record| (text(&record, "id"), text(&record, "answer")))
        .collect();
    answers.sort();
    answers
}

fn generated(prompt: &str, max_tokens: &str) -> String {
    let model = model();
    let (text, _) = run(
        &[
            "generate",
            "--device",
            "cpu",
            "--raw",
            "--model",
            &model,
            "--prompt",
            prompt,
            "--max-tokens",
            max_tokens,
        ],
        0,
    );
    text.strip_suffix('\n').unwrap().to_owned()
}

/// Ten records of different lengths: what the model says is the reference of every other one.
fn write_data(folder: &Path) -> PathBuf {
    let data = folder.join("data.jsonl");
    let records: String = (0..10)
        .map(|record| {
            let prompt = "the quick brown fox ".repeat(record % 4 + 1) + &record.to_string();
            let completion = match record % 2 {
                0 => generated(&prompt, "6"),
                _ => "nothing of the kind".to_owned(),
            };
            json!({"id": record, "prompt": prompt, "completion": completion}).to_string() + "\n"
        })
        .collect();
    std::fs::write(&data, records).unwrap();
    data
}

#[test]
fn texts_are_those_of_generate_and_a_killed_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path());
    let out = folder.path().join("answers.jsonl");
    let out_text = out.display().to_string();
    let task = ["--task", "generation", "--max-tokens", "6", "--batch-size", "3"];
    let found = evaluate(&data, &[&task[..], &["--out", &out_text]].concat());
    assert_eq!(found["examples"], 10);
    assert_eq!(found["exact_match"], 0.5);
    assert!(found["rouge1"].as_f64().unwrap() < 1.0, "{found}");
    let [low, high] = [0, 1].map(|end| found["intervals"]["exact_match"][end].as_f64().unwrap());
    assert!(low < 0.5 && 0.5 < high, "{found}");
    let all = answers(&out);
    assert_eq!(all.len(), 10);

    // As a kill leaves it: some lines, the last one in part.
    let whole = std::fs::read(&out).unwrap();
    std::fs::write(&out, &whole[..whole.len() / 2]).unwrap();
    let resume = ["--out", &out_text, "--resume"];
    assert_eq!(evaluate(&data, &[&task[..], &resume].concat()), found);
    assert_eq!(answers(&out), all);
    // A file that is done is read, not made again; other settings are refused.
    let (model, data) = (model(), data.display().to_string());
    let again = [
        "evaluate", "--device", "cpu", "--model", &model, "--data", &data, "--out", &out_text,
    ];
    let (_, error) = run(&[&again[..], &task].concat(), 2);
    assert!(error.contains("--resume"), "{error}");
    let other = ["--task", "generation", "--max-tokens", "7", "--resume"];
    let (_, error) = run(&[&again[..], &other].concat(), 2);
    assert!(error.contains("`max_tokens`: expected 7, found 6"), "{error}");
    assert_eq!(std::fs::read(&out).unwrap().len(), whole.len());
}

#[test]
fn scores_of_the_other_tasks_resume_too() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/movie_snippets_test.jsonl");
    let examples = std::fs::read_to_string(examples).unwrap();
    let records: Vec<&str> = examples.lines().take(7).collect();
    std::fs::write(&data, records.join("\n")).unwrap();
    for task in ["perplexity", "classification"] {
        let out = folder.path().join(task);
        let out_text = out.display().to_string();
        let task = ["--task", task, "--batch-size", "2", "--out", &out_text];
        let found = evaluate(&data, &task);
        let whole = std::fs::read(&out).unwrap();
        std::fs::write(&out, &whole[..whole.len() * 2 / 3]).unwrap();
        let resumed = evaluate(&data, &[&task[..], &["--resume"]].concat());
        assert_close(&resumed, &found);
    }
}

/// The same but for the rounding of batches that were made up differently.
fn assert_close(left: &Value, right: &Value) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            assert!(left.keys().eq(right.keys()), "{left:?} and {right:?}");
            left.iter()
                .for_each(|(key, value)| assert_close(value, &right[key]));
        }
        (Value::Array(left), Value::Array(right)) => {
            assert_eq!(left.len(), right.len());
            left.iter()
                .zip(right)
                .for_each(|(left, right)| assert_close(left, right));
        }
        (Value::Number(left), Value::Number(right)) => {
            let [left, right] = [left, right].map(|number| number.as_f64().unwrap());
            assert!((left - right).abs() <= 1e-6 * right.abs(), "{left} and {right}");
        }
        _ => assert_eq!(left, right),
    }
}

#[test]
fn squad_files_are_answered_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("dev.json");
    let context = "Ann lives in Cologne. ".repeat(10);
    let prompt = |question: &str| format!("{context}\nQ: {question}\nA:");
    // The file says that the first line of what the model says is right.
    let says = generated(&prompt("Where?"), "4");
    let first = says
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let squad = json!({"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": [
        {"id": "where", "question": "Where?", "is_impossible": false, "answers": [{"text": first, "answer_start": 0}]},
        {"id": "who", "question": "Who is Bob?", "is_impossible": true, "answers": []},
    ]}]}]});
    std::fs::write(&data, squad.to_string()).unwrap();
    let template = "{context}\nQ: {question}\nA:";
    let task = ["--task", "qa", "--raw", "--prompt", template, "--max-tokens", "4"];
    let found = evaluate(&data, &task);
    assert_eq!(
        (&found["examples"], &found["squad_version"]),
        (&json!(2), &json!("2.0"))
    );
    assert_eq!(
        found["answerable"],
        json!({"examples": 1, "exact_match": 1.0, "f1": 1.0})
    );
    assert_eq!(found["unanswerable"]["examples"], 1);
    assert_eq!(found["truncated"], 0);
    // A passage that is too long loses its end; the question stays.
    let short = evaluate(&data, &[&task[..], &["--max-length", "64"]].concat());
    assert_eq!(short["truncated"], 2);
}

#[test]
#[cfg(unix)]
fn a_command_judges_answers() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("code.jsonl");
    let records = [
        json!({"task_id": "t/0", "prompt": "def f():", "test": "yes"}),
        json!({"task_id": "t/1", "prompt": "def g():", "test": "no"}),
    ];
    std::fs::write(&data, format!("{}\n{}\n", records[0], records[1])).unwrap();
    let check = "sh -c 'test -e {answer} && grep -q yes {record}'";
    let task = [
        "--task",
        "generation",
        "--max-tokens",
        "3",
        "--check-command",
        check,
    ];
    let found = evaluate(&data, &task);
    assert_eq!(found["pass_rate"], 0.5);
    let (model, data) = (model(), data.display().to_string());
    let arguments = ["evaluate", "--device", "cpu", "--model", &model, "--data", &data];
    let (_, error) = run(&[&arguments[..], &["--task", "generation"]].concat(), 2);
    assert!(error.contains("code.jsonl:1"), "{error}");
    let (_, error) = run(&[&arguments[..], &["--check-command", "true"]].concat(), 2);
    assert!(error.contains("--task generation"), "{error}");
}
