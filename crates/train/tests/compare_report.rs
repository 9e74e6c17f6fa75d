//! The report of fixed runs, against the text that it had when people last read it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use anylora_train::compare::report::{About, Report};
use anylora_train::compare::{
    Evaluation, Finished, Measured, Metric, NotRun, Planned, Score, Settings, WARM_UP,
};
use anylora_train::evaluation::AnswerSettings;
use anylora_train::{EvalMetric, HeldOutTask, Method, PeakBytes, StepMetric, Summary, TrainConfig};

/// A run of 20 steps whose loss falls and whose steps take the same time but for the warm-up's.
fn run(method: Method, seed: u64) -> Finished {
    let (seconds, weights, gap) = match method {
        Method::Lora => (0.5, 8 << 20, 0.0),
        Method::Qlora => (0.55, 3 << 20, 0.02),
        Method::QloraDq => (0.56, 2 << 20, 0.01),
    };
    let step = |step: usize| StepMetric {
        step,
        loss: Some((2.0 / step as f64 + gap + 0.01 * seed as f64) as f32),
        grad_norm: Some(1.0),
        lr: 1e-3,
        tokens: 10 + step,
        input_tokens: 40 + step,
        seconds: if step <= WARM_UP { 9.0 } else { seconds },
        skipped: false,
    };
    let steps: Vec<StepMetric> = (1..=20).map(step).collect();
    let by_kind = [("weights", weights), ("adapter", 4096), ("activations", 1 << 20)];
    let peak = PeakBytes {
        total: by_kind.iter().map(|(_, bytes)| bytes).sum(),
        by_kind: [
            "weights",
            "adapter",
            "gradients",
            "optimizer",
            "activations",
            "scratch",
        ]
        .map(|kind| {
            let known = by_kind.iter().find(|(name, _)| *name == kind);
            (kind.to_owned(), known.map_or(0, |(_, bytes)| *bytes))
        })
        .into(),
    };
    let accuracy = 0.85 - gap + 0.01 * seed as f64;
    let score = |value: f64| Score {
        value,
        interval: [value - 0.035, value + 0.035],
    };
    Finished {
        planned: Planned { method, seed },
        summary: Summary {
            steps: 20,
            adapter_step: 20,
            final_loss: steps[19].loss,
            eval_loss: Some(0.4 + gap as f32),
            tokens_per_second: 80.0,
            seconds: 10.0,
            trainable_parameters: 4096,
            peak_device_bytes: peak.clone(),
            device: "a device".to_owned(),
            engine: "an engine".to_owned(),
            interrupted: false,
        },
        measured: Measured {
            peak_device_bytes: peak,
            starts: vec![0],
            base_file_bytes: weights + 1024,
        },
        evaluation: Evaluation {
            task: Some(HeldOutTask::Classification),
            examples: 400,
            truncated: 0,
            scores: [Metric::Accuracy, Metric::MacroF1]
                .map(|metric| (metric, score(accuracy)))
                .into(),
        },
        evals: vec![EvalMetric {
            step: 20,
            eval_loss: 0.4,
            eval_tokens: 400,
        }],
        steps,
        adapter_bytes: 16_640,
    }
}

fn report(methods: &[Method], not_run: Vec<NotRun>) -> (Report, Vec<Finished>) {
    report_of(methods, not_run, run)
}

fn report_of(
    methods: &[Method],
    not_run: Vec<NotRun>,
    run: impl Fn(Method, u64) -> Finished,
) -> (Report, Vec<Finished>) {
    let settings = Settings {
        methods: Method::ALL.to_vec(),
        seeds: 2,
        memory_limit: Some(16 << 20),
        task: HeldOutTask::Auto,
        answers: AnswerSettings::default(),
        command: "anylora compare --model 'a <model>' --data train.jsonl".to_owned(),
        settings: TrainConfig {
            model: Some("a <model>".to_owned()),
            steps: Some(20),
            batch_size: 1,
            max_length: 128,
            seed: 1,
            ..TrainConfig::default()
        },
    };
    let about = About {
        program: "anylora 0.0.0".to_owned(),
        date: "2026-11-25".to_owned(),
        device: "a device".to_owned(),
        device_kind: "GPU".to_owned(),
        engine: "an engine (vulkan)".to_owned(),
        driver: "a driver 1.2".to_owned(),
        memory_bytes: Some(8 << 30),
        system: "linux x86_64".to_owned(),
        model: "a <model>".to_owned(),
        family: "llama".to_owned(),
        base_parameters: 4_000_000,
        examples: 600,
        held_out_examples: Some(400),
        labels: vec!["no".to_owned(), "yes".to_owned()],
    };
    let planned = settings.runs(methods).into_iter();
    let finished: Vec<Finished> = planned.map(|planned| run(planned.method, planned.seed)).collect();
    (
        Report::new(about, &settings, &finished, not_run).unwrap(),
        finished,
    )
}

/// Plans are other tests' matter, and settings grow in number.
fn without_plans(text: &str) -> String {
    let (text, settings) = text.split_once("```toml").unwrap();
    assert!(settings.contains("max_length = 128") && !settings.contains("quant ="));
    let planned = |line: &&str| line.contains("by plan") || line.starts_with("| llama-");
    let lines = text.lines().filter(|line| !planned(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_report_reads_as_it_did() {
    let out = tempfile::tempdir().unwrap();
    let (report, finished) = report(&Method::ALL, Vec::new());
    report.write(out.path(), &finished).unwrap();
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let markdown = without_plans(&read("report.md"));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compare/report.md");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&fixture, &markdown).unwrap();
    }
    let expected = std::fs::read_to_string(&fixture).unwrap();
    for (number, (found, expected)) in markdown.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {}", number + 1, fixture.display());
    }
    assert_eq!(markdown.lines().count(), expected.lines().count());
    // What a name holds can't break the page.
    let page = read("report.html");
    assert!(page.contains("a &lt;model&gt;") && !page.contains("a <model>"));
    let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(json["recommendation"]["method"], "qlora-dq");
    assert_eq!(json["methods"][1]["step_time_ratio"]["median"], 1.1);
    assert_eq!(read("tables/steps.csv").matches(",0\n").count(), 6 * WARM_UP);
}

#[test]
fn what_is_left_out_is_told_and_one_method_is_enough() {
    let out = tempfile::tempdir().unwrap();
    let not_run = [Method::Lora, Method::Qlora].map(|method| NotRun {
        method,
        label: method.label(),
        peak_bytes: 20 << 20,
    });
    let (report, finished) = report(&[Method::QloraDq], not_run.to_vec());
    report.write(out.path(), &finished).unwrap();
    let page = std::fs::read_to_string(out.path().join("report.html")).unwrap();
    assert_eq!(
        page.matches("not run: more than the limit of 16.00 MiB").count(),
        2
    );
    assert!(page.contains("not measured"), "a ratio to LoRA needs LoRA");
}

/// The run of a task with these scores, whose held-out data have no loss.
fn scored(method: Method, seed: u64, task: Option<HeldOutTask>, scores: &[(Metric, f64)]) -> Finished {
    let mut run = run(method, seed);
    run.summary.eval_loss = None;
    let score = |&(metric, value): &(Metric, f64)| {
        let interval = [value - 0.1, value + 0.1];
        (metric, Score { value, interval })
    };
    run.evaluation = Evaluation {
        task,
        examples: 10,
        truncated: 3,
        scores: scores.iter().map(score).collect(),
    };
    run
}

#[test]
fn a_task_has_its_scores_in_every_form_of_the_report() {
    let out = tempfile::tempdir().unwrap();
    let scores = [(Metric::ExactMatch, 0.25), (Metric::F1, 0.5)];
    let (report, finished) = report_of(&Method::ALL, Vec::new(), |method, seed| {
        scored(method, seed, Some(HeldOutTask::Qa), &scores)
    });
    report.write(out.path(), &finished).unwrap();
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(json["metric"], "f1");
    let method = &json["methods"][2];
    assert_eq!(method["exact_match"]["values"], serde_json::json!([0.25, 0.25]));
    assert_eq!(method["f1"]["over_examples"], serde_json::json!([0.4, 0.6]));
    for name in ["report.html", "report.md"] {
        let text = read(name);
        for part in [
            "exact match",
            "50.0 %",
            "40.0 % to 60.0 %",
            "evaluated as qa; 3 were shortened",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            !text.contains("accuracy") && !text.contains("held-out loss"),
            "{text}"
        );
    }
    for (name, part) in [
        ("runs", "exact_match,exact_match_low,exact_match_high,f1"),
        ("methods", "f1,f1_low,f1_high,f1_over_examples_low"),
    ] {
        let table = read(&format!("tables/{name}.csv"));
        assert!(table.lines().next().unwrap().contains(part), "{table}");
    }
}

#[test]
fn methods_are_judged_by_what_their_task_has_or_else_by_losses() {
    let rouge = [Metric::Rouge1, Metric::Rouge2, Metric::RougeL].map(|metric| (metric, 0.125));
    let runs = Method::ALL.map(|method| scored(method, 1, Some(HeldOutTask::Summarization), &rouge));
    let found = anylora_train::compare::analyse(&Method::ALL, &runs).unwrap();
    assert_eq!(found.metric, Metric::RougeL);
    assert_eq!(found.metrics.len(), 4);
    for (eval_loss, metric) in [(Some(0.5), Metric::EvalLoss), (None, Metric::TrainLoss)] {
        let runs = Method::ALL.map(|method| {
            let mut run = scored(method, 1, None, &[]);
            run.summary.eval_loss = eval_loss;
            run
        });
        let found = anylora_train::compare::analyse(&Method::ALL, &runs).unwrap();
        assert_eq!(found.metric, metric);
    }
}

#[test]
fn runs_on_other_data_are_not_compared() {
    let mut finished = Method::ALL.map(|method| run(method, 1));
    finished[1].steps[4].input_tokens += 1;
    let error = anylora_train::compare::analyse(&Method::ALL, &finished).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("step 5 of qlora-seed1 and of lora-seed1"),
        "{error}"
    );
}
