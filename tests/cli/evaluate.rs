//! `anylora evaluate` on the CPU engine, against the reference's logits.

use std::path::{Path, PathBuf};

use anylora_checkpoint::Checkpoint;
use anylora_generate::Prompter;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::run;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/tiny")
        .join(name)
}

fn evaluate(model: &str, data: &Path, more: &[&str]) -> Value {
    let (model, data) = (fixture(model).display().to_string(), data.display().to_string());
    let arguments = [
        "evaluate", "--device", "cpu", "--json", "--model", &model, "--data", &data,
    ];
    serde_json::from_str(&run(&[&arguments[..], more].concat(), 0).0).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// A tensor's 8-byte integers or 4-byte floats, as floats.
fn tensor(file: &Path, name: &str) -> Vec<f64> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    match view.dtype() {
        safetensors::Dtype::I64 => {
            let ids = view.data().as_chunks::<8>().0.iter();
            ids.map(|id| i64::from_le_bytes(*id) as f64).collect()
        }
        _ => {
            let values = view.data().as_chunks::<4>().0.iter();
            values
                .map(|value| f64::from(f32::from_le_bytes(*value)))
                .collect()
        }
    }
}

/// The sum of `lse - logit[next]` over the first `lengths` tokens of two rows of 48, and how many there are.
fn reference(logits: &[f64], ids: &[f64], lengths: [usize; 2]) -> (f64, usize) {
    let (mut nll, mut tokens) = (0.0, 0);
    for (row, length) in lengths.into_iter().enumerate() {
        for place in row * 48..row * 48 + length - 1 {
            let logits = &logits[place * 512..(place + 1) * 512];
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            nll += sum.ln() - logits[ids[place + 1] as usize];
            tokens += 1;
        }
    }
    (nll, tokens)
}

fn write_tokens(file: &Path, ids: &[f64], lengths: [usize; 2]) {
    let record = |row: usize| {
        let ids: Vec<u32> = ids[row * 48..row * 48 + lengths[row]]
            .iter()
            .map(|id| *id as u32)
            .collect();
        json!({ "input_ids": ids }).to_string()
    };
    std::fs::write(file, format!("{}\n{}\n", record(0), record(1))).unwrap();
}

fn check(found: &Value, (nll, tokens): (f64, usize), tolerance: f64) {
    assert_eq!(found["tokens"], tokens);
    let expected = nll / tokens as f64;
    let off = (number(&found["nll"]) - expected).abs() / expected;
    assert!(off < tolerance, "{found} against {expected}: {off:e}");
    let perplexity = number(&found["perplexity"]);
    assert!(
        (perplexity / number(&found["nll"]).exp() - 1.0).abs() < 1e-9,
        "{found}"
    );
}

#[test]
fn perplexity_is_the_reference_logits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    for model in ["tiny-llama", "tiny-qwen3"] {
        let golden = fixture(model).join("reference/forward.safetensors");
        let (logits, ids) = (tensor(&golden, "logits"), tensor(&golden, "input_ids"));
        // Rows of unequal length: padding changes nothing.
        for (lengths, batch_size) in [([48, 48], "8"), ([48, 21], "2"), ([48, 21], "1")] {
            write_tokens(&data, &ids, lengths);
            let found = evaluate(model, &data, &["--batch-size", batch_size]);
            check(&found, reference(&logits, &ids, lengths), 1e-5);
        }
    }
}

#[test]
fn an_adapter_and_a_4_bit_base_count() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let reference_folder = fixture("tiny-llama").join("reference");
    let ids = tensor(&reference_folder.join("batches.safetensors"), "input_ids");
    let ids = &ids[..96];
    write_tokens(&data, ids, [48, 48]);
    for (record, quant) in [("lora_f32", "none"), ("qlora_nf4dq", "nf4")] {
        let adapter = reference_folder.join(format!("{record}_adapter_final"));
        let more = ["--adapter", adapter.to_str().unwrap(), "--quant", quant];
        let found = evaluate("tiny-llama", &data, &more);
        let logits = reference_folder.join(format!("{record}_final_logits.safetensors"));
        check(&found, reference(&tensor(&logits, "logits"), ids, [48, 48]), 1e-4);
    }
}

#[test]
fn long_texts_are_read_in_windows_and_lose_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.txt");
    std::fs::write(&data, "The quick brown fox jumps over the lazy dog. ".repeat(4)).unwrap();
    let whole = evaluate("tiny-llama", &data, &[]);
    let windows = evaluate("tiny-llama", &data, &["--max-length", "16"]);
    assert!(number(&whole["tokens"]) > 40.0, "{whole}");
    assert_eq!(whole["tokens"], windows["tokens"]);
    assert_ne!(whole["nll"], windows["nll"]);
}

/// Each word's likelihood the other way round: as the perplexity of its tokens, one word a run.
#[test]
fn the_class_is_the_likeliest_word() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/movie_snippets_test.jsonl");
    let examples = std::fs::read_to_string(examples).unwrap();
    let records: Vec<&str> = examples.lines().take(5).collect();
    std::fs::write(&data, records.join("\n")).unwrap();
    let more = ["--task", "classification", "--batch-size", "3"];
    let found = evaluate("tiny-llama", &data, &more);
    assert_eq!(found["labels"], json!([" negative", " positive"]));
    assert_eq!(found["examples"], 5);

    let prompter = Prompter::new(&Checkpoint::open(&fixture("tiny-llama")).unwrap()).unwrap();
    let mut confusion = [[0, 0], [0, 0]];
    for record in &records {
        let record: Value = serde_json::from_str(record).unwrap();
        let prompt = record["prompt"].as_str().unwrap();
        let given = prompter.raw(prompt).unwrap().len();
        let scores = [" negative", " positive"].map(|word| {
            let ids = prompter.raw(&format!("{prompt}{word}")).unwrap();
            let label = |(place, id): (usize, &u32)| if place < given { -100 } else { i64::from(*id) };
            let labels: Vec<i64> = ids.iter().enumerate().map(label).collect();
            let single = folder.path().join("single.jsonl");
            std::fs::write(&single, json!({"input_ids": ids, "labels": labels}).to_string()).unwrap();
            let found = evaluate("tiny-llama", &single, &[]);
            -number(&found["nll"]) * number(&found["tokens"])
        });
        let truth = usize::try_from(record["label"].as_u64().unwrap()).unwrap();
        confusion[truth][usize::from(scores[1] > scores[0])] += 1;
    }
    assert_eq!(found["confusion"], json!(confusion));
    let right = f64::from(confusion[0][0] + confusion[1][1]) / 5.0;
    assert!((number(&found["accuracy"]) - right).abs() < 1e-12, "{found}");
    let [low, high] = [0, 1].map(|end| number(&found["intervals"]["accuracy"][end]));
    assert!(low <= right && right <= high && low < high, "{found}");
    assert_eq!(
        evaluate("tiny-llama", &data, &more),
        found,
        "the same seed gives the same interval"
    );
}

#[test]
fn glue_files_are_read_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("dev.tsv");
    std::fs::write(&data, "sentence\tlabel\n\"a gem\t1\nslow .\t0\n").unwrap();
    let model = fixture("tiny-llama").display().to_string();
    let arguments = [
        "evaluate",
        "--device",
        "cpu",
        "--model",
        &model,
        "--task",
        "classification",
        "--data",
    ];
    let file = data.display().to_string();
    let (text, _) = run(&[&arguments[..], &[&file, "--labels", " bad, good"]].concat(), 0);
    assert!(text.starts_with("2 examples\naccuracy "), "{text}");
    assert!(text.contains("bad") && text.contains("good"), "{text}");
}

#[test]
fn wrong_requests_end_with_2_and_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, "{\"text\": \"a\"}\n{\"text\": \"b\"}\n").unwrap();
    let (model, file) = (
        fixture("tiny-llama").display().to_string(),
        data.display().to_string(),
    );
    let arguments = ["evaluate", "--device", "cpu", "--model", &model, "--data", &file];
    let wrong = |more: &[&str]| run(&[&arguments[..], more].concat(), 2).1;
    let error = wrong(&["--task", "classification"]);
    assert!(
        error.contains("data.jsonl:1") && error.contains("data.jsonl:2"),
        "{error}"
    );
    let error = wrong(&["--max-length", "100000"]);
    assert!(error.contains("made for at most"), "{error}");
    wrong(&["--batch-size", "0"]);
    wrong(&["--task", "poetry"]);
    let (_, error) = run(
        &[
            "evaluate",
            "--device",
            "cpu",
            "--model",
            &model,
            "--data",
            "missing.jsonl",
        ],
        2,
    );
    assert!(error.contains("missing.jsonl"), "{error}");
}
