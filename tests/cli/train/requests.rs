//! What is wrong with a request is said before anything is written, and what can be asked for is in the help.

use serde_json::Value;

use super::{Place, fails, succeeds, succeeds_with_stdout};

#[test]
fn wrong_requests_are_named_and_leave_no_folder() {
    let place = Place::new();
    let untrained = place.write("untrained.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n");
    let unknown = place.write("run.toml", "rank = 4\nrnak = 8\n");
    let missing = place.path("missing.jsonl").display().to_string();
    for (option, value, messages) in [
        (
            "--config",
            unknown.as_str(),
            vec!["run.toml", "`rnak` (did you mean `rank`?)"],
        ),
        ("--data", &missing, vec!["missing.jsonl"]),
        (
            "--data",
            &untrained,
            vec!["untrained.jsonl", "has a trained token"],
        ),
        ("--target-modules", "p_proj", vec!["p_proj"]),
        ("--rank", "0", vec!["rank should be from 1 to 1024, found 0"]),
        ("--patience", "2", vec!["patience needs eval_data"]),
        ("--eval-every", "2", vec!["eval_every needs eval_data"]),
        (
            "--layers",
            "0..99",
            vec!["the model has layers 0 to 1", "hint: --layers 0..2"],
        ),
        ("--format", "parquet", vec!["parquet"]),
        ("--adapter-init", &missing, vec!["missing.jsonl"]),
        ("--model", "nothing-here", vec!["nothing-here"]),
        ("--device", "gpu", vec!["gpu"]),
        (
            "--config",
            &missing,
            vec!["missing.jsonl could not be read", "hint: ls -l"],
        ),
    ] {
        let mut arguments = place.arguments("out");
        match arguments.iter().position(|argument| argument == option) {
            Some(at) => arguments[at + 1] = value.to_owned(),
            None => arguments.extend([option.to_owned(), value.to_owned()]),
        }
        let error = fails(&arguments, 2);
        for message in messages {
            assert!(error.contains(message), "{error}");
        }
        assert!(!place.path("out").exists(), "{option} {value}: {error}");
    }
    assert!(fails(&place.resume("out"), 2).contains("hint: leave --resume out"));
    let error = fails(&place.arguments("data.jsonl"), 2);
    assert!(
        error.contains("data.jsonl: expected a run folder, found a file"),
        "{error}"
    );
}

#[test]
fn a_run_folder_is_one_run_with_its_settings() {
    let place = Place::new();
    let mut arguments = place.arguments("run");
    let at = arguments
        .iter()
        .position(|argument| argument == "--steps")
        .unwrap();
    arguments[at + 1] = "2".to_owned();
    succeeds(&arguments);
    let before = place.adapter("run");
    let peak = |place: &Place| {
        let text = std::fs::read_to_string(place.path("run").join("summary.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["peak_device_bytes"].clone()
    };
    let peak_before = peak(&place);
    let error = fails(&arguments, 2);
    assert!(
        error.contains("holds a run already") && error.contains("hint: --resume"),
        "{error}"
    );
    let mut other = place.resume("run");
    other.extend(["--lr", "1e-4"].map(str::to_owned));
    let error = fails(&other, 2);
    assert!(
        error.contains("began with other settings") && error.contains("hint: "),
        "{error}"
    );
    // A run that is done is done, and what it took at its highest is what it took, not what a look at it takes.
    succeeds(&place.resume("run"));
    assert!(place.adapter("run") == before);
    assert_eq!(peak(&place), peak_before);
}

#[test]
fn what_cannot_fit_is_refused_with_the_nearest_that_does() {
    let place = Place::new();
    let mut plan = place.arguments("out");
    plan[0] = "plan".to_owned();
    plan.push("--json".to_owned());
    let plan: Value = serde_json::from_str(&succeeds_with_stdout(&plan)).unwrap();
    let peak = plan["peak_device_bytes"]["total"].as_u64().unwrap();
    let with = |limit: u64, more: &[&str]| {
        let mut arguments = place.arguments("out");
        arguments.extend(["--memory-limit".to_owned(), limit.to_string()]);
        for more in more.chunks(2) {
            match arguments.iter().position(|argument| argument == more[0]) {
                Some(at) => arguments[at + 1] = more[1].to_owned(),
                None => arguments.extend(more.iter().map(|&more| more.to_owned())),
            }
        }
        arguments
    };
    let error = fails(&with(peak - 1, &[]), 2);
    for part in ["weights ", "activations ", "(--memory-limit)"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!place.path("out").exists());
    let hint = error
        .lines()
        .find_map(|line| line.strip_prefix("hint: "))
        .unwrap();
    let (options, _) = hint.split_once(" takes ").unwrap();
    assert!(options.contains("--batch-size 1 --grad-accum 2"), "{hint}");
    let options: Vec<&str> = options.split(' ').collect();
    // All the same fails where the memory ends, and what was said to fit does fit.
    let error = fails(&with(peak / 2, &["--force"]), 1);
    assert!(error.contains("memory limit"), "{error}");
    std::fs::remove_dir_all(place.path("out")).ok();
    succeeds(&with(peak - 1, &[&options[..], &["--steps", "1"]].concat()));
    std::fs::remove_dir_all(place.path("out")).unwrap();
    let error = fails(&with(1000, &[]), 2);
    assert!(
        error.contains("hint: ") && error.contains("smaller model"),
        "{error}"
    );
}

#[test]
fn help_shows_each_default_under_its_heading() {
    let help = succeeds_with_stdout(&["train".to_owned(), "--help".to_owned()]);
    for part in [
        "Adapter:",
        "Optimizer:",
        "--rank <RANK>",
        "[default: 16]",
        "[default: 0.0002]",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let (optimizer, rest) = (help.find("Optimizer:").unwrap(), help.find("--lr <").unwrap());
    assert!(optimizer < rest);
    assert_eq!(help.matches("[default: cosine]").count(), 1, "{help}");
}

#[test]
fn early_stopping_gives_the_best_adapter() {
    let place = Place::new();
    let mut arguments = place.arguments("run");
    let data = place.path("data.jsonl").display().to_string();
    // At this rate the loss jumps.
    let rest = [
        "--eval-data",
        &data,
        "--eval-every",
        "1",
        "--patience",
        "2",
        "--lr",
        "0.5",
    ];
    let steps = ["--steps", "200", "--schedule", "constant", "--save-every", "0"];
    for pair in rest.chunks(2).chain(steps.chunks(2)) {
        match arguments.iter().position(|argument| argument == pair[0]) {
            Some(at) => arguments[at + 1] = pair[1].to_owned(),
            None => arguments.extend([pair[0].to_owned(), pair[1].to_owned()]),
        }
    }
    let said = succeeds(&arguments);
    let metrics = place.metrics("run");
    let evaluations = metrics.iter().filter(|metric| metric.get("eval_loss").is_some());
    let loss = |metric: &&Value| metric["eval_loss"].as_f64().unwrap();
    let best = evaluations.min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
    let (step, last) = (&best["step"], &metrics.last().unwrap()["step"]);
    assert!(last.as_u64().unwrap() < 200 && step != last, "{said}");
    assert!(said.contains("no longer falls"), "{said}");
    assert!(
        said.contains(&format!("the adapter is that of step {step}")),
        "{said}"
    );
    let checkpoint = place
        .path("run")
        .join(format!("checkpoints/step-{:06}", step.as_u64().unwrap()));
    let kept = std::fs::read(checkpoint.join("adapter_model.safetensors")).unwrap();
    assert!(place.adapter("run")[1] == kept);
    let summary = std::fs::read(place.path("run").join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["eval_loss"], best["eval_loss"]);
}

#[test]
fn a_dry_run_says_what_would_be_and_prints_a_config() {
    let place = Place::new();
    let mut arguments = place.arguments("run");
    arguments.push("--dry-run".to_owned());
    let config = succeeds_with_stdout(&arguments);
    assert!(config.contains("# device memory at its highest: "), "{config}");
    assert!(!place.path("run").exists());
    let file = place.write("run.toml", &config);
    succeeds(&["train", "--config", &file].map(str::to_owned));
    let summary = std::fs::read(place.path("run").join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    let (steps, trainable) = (&summary["steps"], &summary["trainable_parameters"]);
    let said = format!("# {steps} steps; {trainable} trainable parameters");
    assert!(config.contains(&said), "expected {said} in:\n{config}");
}
