//! Held-out data that are more than a loss: SQuAD's file, summaries, GLUE's table; and how large things are on disk.

use std::path::Path;

use serde_json::{Value, json};

use super::{Place, ends, start};
use crate::run;

/// A comparison of two short runs on held-out data in `file`, of which `content` is what they are.
fn arguments(place: &Place, out: &str, file: &str, content: &str, more: &str) -> Vec<String> {
    std::fs::write(place.path(file), content).unwrap();
    let mut arguments = place.arguments(out, &format!("--device cpu --dtype f32 {more}"));
    let mut set = |option: &str, value: String| {
        let at = arguments.iter().position(|argument| argument == option).unwrap();
        arguments[at + 1] = value;
    };
    set("--eval-data", place.path(file).display().to_string());
    set("--steps", "2".to_owned());
    set("--max-length", "128".to_owned());
    arguments
}

fn squad(answer: &str) -> String {
    let qas = json!([
        {"id": "where", "question": "Where?", "answers": [{"text": answer, "answer_start": 0}]},
        {"id": "who", "question": "Who is Bob?", "answers": [{"text": "a man", "answer_start": 0}]},
    ]);
    let paragraph = json!({"context": "Ann lives in Cologne.", "qas": qas});
    let file = json!({"version": "1.1", "data": [{"title": "t", "paragraphs": [paragraph]}]});
    format!("{file:#}\n")
}

/// The answers in a file, after its first line, by their ids.
fn answers(text: &str) -> Vec<(String, String)> {
    let answer = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| record[key].as_str().unwrap().to_owned();
        (text("id"), text("answer"))
    };
    let mut answers: Vec<_> = text.lines().skip(1).map(answer).collect();
    answers.sort();
    answers
}

#[test]
fn a_squad_file_is_answered_as_evaluate_does_it() {
    let place = Place::new();
    let more = "--methods qlora-dq --max-tokens 4";
    let asked = |out: &str, answer: &str| {
        let arguments = arguments(&place, out, "dev.json", &squad(answer), more);
        ends(start(&arguments), 0)
    };
    asked("first", "Cologne");
    let folder = "first/runs/qlora-dq-seed7";
    let said = answers(&place.read(&format!("{folder}/answers.jsonl")));
    let model = format!("{}/../tests/fixtures/tiny/tiny-llama", env!("CARGO_MANIFEST_DIR"));
    let path = |name: &str| place.path(name).display().to_string();
    let (data, adapter, out) = (
        path("dev.json"),
        path(&format!("{folder}/adapter")),
        path("answers.jsonl"),
    );
    let evaluate = [
        "evaluate",
        "--device",
        "cpu",
        "--model",
        &model,
        "--quant",
        "nf4",
        "--adapter",
        &adapter,
        "--data",
        &data,
        "--task",
        "qa",
        "--max-tokens",
        "4",
        "--max-length",
        "128",
        "--out",
        &out,
    ];
    run(&evaluate, 0);
    assert_eq!(answers(&place.read("answers.jsonl")), said);

    // What the model says is right: one of two questions is answered as the file wants it, by every seed that says so.
    let line = |text: &str| {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or_default().to_owned()
    };
    let right = line(&said[0].1);
    asked("second", &right);
    let report = place.report("second");
    let method = &report["methods"][0];
    assert_eq!(report["metric"], "f1");
    assert_eq!(report["metrics"], json!(["exact_match", "f1", "train_loss"]));
    assert_eq!(method["exact_match"]["values"][0], 0.5);
    assert_eq!(method["exact_match"]["values"].as_array().unwrap().len(), 2);
    assert_eq!(
        method["exact_match"]["over_examples"].as_array().unwrap().len(),
        2
    );
    assert_eq!(method["f1"]["interval"].as_array().unwrap().len(), 2);
    // SQuAD's file is nothing that training reads: there is no held-out loss, and nobody says that there is.
    assert_eq!(report["runs"][0]["eval_loss"], Value::Null);
    assert_eq!(report["about"]["held_out_examples"], 2);
    for file in ["report.html", "report.md"] {
        let text = place.read(&format!("second/{file}"));
        assert!(text.contains("exact match") && text.contains("50.0 %"), "{text}");
        assert!(text.contains("evaluated as qa"), "{text}");
    }
    assert!(place.read("second/tables/runs.csv").contains("exact_match"));

    // As a kill in the last run's evaluation leaves it.
    let folder = place.path("second/runs/qlora-dq-seed8");
    std::fs::remove_file(folder.join("evaluation.json")).unwrap();
    let file = folder.join("answers.jsonl");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 9]).unwrap();
    ends(start(&place.resume("second")), 0);
    let resumed = place.report("second");
    assert_eq!(resumed["methods"][0]["f1"], method["f1"]);
    let (_, error) = ends(
        start(
            &[
                place.resume("second"),
                vec!["--max-tokens".to_owned(), "5".to_owned()],
            ]
            .concat(),
        ),
        2,
    );
    assert!(error.contains("began with other settings"), "{error}");
}

#[test]
fn summaries_are_compared_by_rouge() {
    let place = Place::new();
    let records: String = (0..3)
        .map(|i| {
            let record = json!({"dialogue": format!("A: hello {i}\nB: goodbye"), "summary": "A greets B."});
            format!("{record}\n")
        })
        .collect();
    let more = "--methods lora,qlora --max-tokens 3 --stemmer";
    let arguments = arguments(&place, "out", "test-summaries.jsonl", &records, more);
    ends(start(&arguments), 0);
    let report = place.report("out");
    assert_eq!(report["metric"], "rougeL");
    for method in report["methods"].as_array().unwrap() {
        for score in ["rouge1", "rouge2", "rougeL"] {
            assert_eq!(method[score]["values"].as_array().unwrap().len(), 2, "{score}");
            assert_eq!(
                method[score]["over_examples"].as_array().unwrap().len(),
                2,
                "{score}"
            );
        }
        assert_eq!(method["eval_loss"], Value::Null);
    }
    assert_eq!(report["runs"][0]["evaluation"]["examples"], 3);
    let page = place.read("out/report.html");
    for label in ["ROUGE-1", "ROUGE-2", "ROUGE-L"] {
        assert!(page.contains(label), "{label}");
    }
}

#[test]
fn a_glue_table_is_classified_and_the_loss_alone_is_a_choice() {
    let place = Place::new();
    let table = "sentence\tlabel\n\"a gem\t1\nslow .\t0\n";
    let more = "--methods qlora --seeds 1";
    ends(start(&arguments(&place, "glue", "dev.tsv", table, more)), 0);
    let report = place.report("glue");
    assert_eq!(report["metrics"], json!(["accuracy", "macro_f1", "train_loss"]));
    assert_eq!(report["about"]["labels"], json!(["negative", "positive"]));
    let labelled = place.read("test.jsonl");
    let more = format!("{more} --task none");
    ends(
        start(&arguments(&place, "none", "test.jsonl", &labelled, &more)),
        0,
    );
    let report = place.report("none");
    assert_eq!(report["metrics"], json!(["eval_loss", "train_loss"]));
    assert_eq!(report["runs"][0]["evaluation"]["task"], Value::Null);
}

#[test]
fn what_can_not_be_asked_is_told_before_anything_is_trained() {
    let place = Place::new();
    for (more, part) in [
        ("--eval-every 1", "need a held-out loss"),
        ("--patience 1", "need a held-out loss"),
        ("--task none", "no known format"),
        ("--task classification", "no known format"),
        ("--max-tokens 128", "expected fewer than --max-length 128"),
        ("--prompt nothing", "{context}"),
    ] {
        let arguments = arguments(&place, "out", "dev.json", &squad("x").replace('\n', " "), more);
        let (_, error) = ends(start(&arguments), 2);
        assert!(error.contains(part), "{more}: {error}");
        assert!(!place.path("out").exists(), "{more}");
    }
    let mut arguments = place.arguments("out", "--device cpu --task qa");
    let at = arguments
        .iter()
        .position(|argument| argument == "--eval-data")
        .unwrap();
    arguments.drain(at..at + 2);
    let (_, error) = ends(start(&arguments), 2);
    assert!(error.contains("hint: --eval-data FILE"), "{error}");
}

#[test]
fn sizes_on_disk_are_those_of_files() {
    let place = Place::new();
    let labelled = place.read("test.jsonl");
    let more = "--methods lora,qlora-dq --seeds 1 --task none";
    let arguments = arguments(&place, "out", "test.jsonl", &labelled, more);
    ends(start(&arguments), 0);
    let report = place.report("out");
    let model = format!("{}/../tests/fixtures/tiny/tiny-llama", env!("CARGO_MANIFEST_DIR"));
    let packed = place.path("packed").display().to_string();
    run(&["pack", "--model", &model, "--out", &packed], 0);
    let manifest: Value = serde_json::from_str(&place.read("packed/manifest.json")).unwrap();
    let shards = manifest["shards"].as_array().unwrap().iter();
    let written: u64 = shards.map(|shard| shard["bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["methods"][1]["base_file_bytes"], written);
    // The tiny model's own file, which is in the type that the settings ask for.
    let file = Path::new(&model)
        .join("model.safetensors")
        .metadata()
        .unwrap()
        .len();
    let computed = report["methods"][0]["base_file_bytes"].as_u64().unwrap();
    assert!(computed.abs_diff(file) < 4096, "{computed} and {file}");
    for (index, run) in ["lora-seed7", "qlora-dq-seed7"].into_iter().enumerate() {
        let files = ["adapter_model.safetensors", "adapter_config.json"].map(|name| {
            let file = place.path(&format!("out/runs/{run}/adapter/{name}"));
            file.metadata().unwrap().len()
        });
        assert_eq!(report["methods"][index]["adapter_bytes"], files[0] + files[1]);
    }
}
