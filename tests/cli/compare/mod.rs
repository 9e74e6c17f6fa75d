//! `anylora compare` with a tiny model: on software Vulkan, killed on the CPU engine, and asked for what can't be.

mod requests;
mod tasks;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const STEPS: usize = 8;

/// A folder with labelled data.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines = |from: usize| -> String {
            let line = |i: usize| {
                let (word, label) = [(" no", 0), (" yes", 1)][i % 2];
                let prompt = ["down", "up"][i % 2].repeat(i % 3 + 1);
                format!("{{\"prompt\": \"{prompt}{i}\", \"completion\": \"{word}\", \"label\": {label}}}\n")
            };
            (from..from + 12).map(line).collect()
        };
        std::fs::write(folder.path().join("train.jsonl"), lines(0)).unwrap();
        std::fs::write(folder.path().join("test.jsonl"), lines(20)).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn arguments(&self, out: &str, more: &str) -> Vec<String> {
        let model = format!("{}/../tests/fixtures/tiny/tiny-llama", env!("CARGO_MANIFEST_DIR"));
        let mut arguments = vec!["compare".to_owned(), "--model".to_owned(), model];
        for (option, path) in [
            ("--data", "train.jsonl"),
            ("--eval-data", "test.jsonl"),
            ("--out", out),
        ] {
            arguments.extend([option.to_owned(), self.path(path).display().to_string()]);
        }
        let rest = format!(
            "--steps {STEPS} --save-every 1 --batch-size 2 --max-length 32 --rank 4 --packing false --lr 1e-2 \
             --target-modules q_proj,v_proj --seed 7 {more}"
        );
        arguments.extend(rest.split_whitespace().map(str::to_owned));
        arguments
    }

    fn resume(&self, out: &str) -> Vec<String> {
        let out = self.path(out).display().to_string();
        ["compare", "--resume", "--out", &out].map(str::to_owned).to_vec()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn report(&self, out: &str) -> Value {
        serde_json::from_str(&self.read(&format!("{out}/report.json"))).unwrap()
    }
}

fn start(arguments: &[String]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anylora"));
    command
        .args(arguments)
        .env_remove("ANYLORA_DEVICE")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[track_caller]
fn ends(child: Child, code: i32) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    );
    assert_eq!(status.code(), Some(code), "{stderr}");
    (stdout, stderr)
}

#[test]
fn three_methods_are_compared_on_software_vulkan() {
    let place = Place::new();
    let (stdout, stderr) = ends(
        start(&place.arguments("out", "--device software --memory-limit 1GiB")),
        0,
    );
    assert_eq!(stdout, format!("{}\n", place.path("out/report.html").display()));
    assert!(
        stderr.contains("run 6 of 6") && stderr.contains("take "),
        "{stderr}"
    );
    let report = place.report("out");
    let methods = report["methods"].as_array().unwrap();
    let weights = |index: usize| {
        methods[index]["peak_device_bytes"]["by_kind"]["weights"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(methods.len(), 3);
    assert!(weights(0) > weights(1) && weights(1) > weights(2));
    for method in methods {
        let peak = &method["peak_device_bytes"];
        let kinds = peak["by_kind"].as_object().unwrap().values();
        let sum: u64 = kinds.map(|bytes| bytes.as_u64().unwrap()).sum();
        assert_eq!(peak["total"], sum);
        assert_eq!(method["accuracy"]["values"].as_array().unwrap().len(), 2);
        assert!(method["tokens_per_second"]["median"].as_f64().unwrap() > 0.0);
        // 6 of 8 steps of two runs are timed.
        assert_eq!(method["steps_per_second"]["count"], 2 * (STEPS - STEPS / 4));
    }
    assert_eq!(report["metric"], "accuracy");
    assert_eq!(report["reaches"].as_array().unwrap().len(), 6);
    assert_eq!(report["larger_models"].as_array().unwrap().len(), 12);
    assert_eq!(report["about"]["device_kind"], "software adapter");
    assert!(
        report["about"]["driver"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("mesa"),
        "{report}"
    );
    let command = report["command"].as_str().unwrap();
    assert!(
        command.starts_with("anylora compare --model ") && command.contains("--seed 7"),
        "{command}"
    );
    // Each run is a run folder like any other.
    for name in [
        "config.toml",
        "loss.svg",
        "summary.json",
        "adapter/adapter_model.safetensors",
    ] {
        assert!(
            place.path("out/runs/qlora-dq-seed8").join(name).exists(),
            "{name}"
        );
    }
    let config = place.read("out/runs/qlora-seed8/config.toml");
    for line in [
        "quant = \"nf4\"",
        "double_quant = false",
        "seed = 8",
        "dtype = \"bf16\"",
    ] {
        assert!(config.contains(line), "{config}");
    }
    assert_eq!(place.read("out/tables/steps.csv").lines().count(), 1 + 6 * STEPS);
    for plot in ["memory", "speed", "loss", "quality", "larger_models"] {
        let svg = place.read(&format!("out/plots/{plot}.svg"));
        assert!(
            svg.starts_with("<svg") && svg.contains("prefers-color-scheme:dark"),
            "{plot}"
        );
    }
    page_stands_alone(&place.read("out/report.html"));
}

/// One file, which needs no script and no other file.
fn page_stands_alone(page: &str) {
    for part in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<svg").count(), 5);
    for tag in [
        "table", "tr", "td", "th", "svg", "figure", "div", "ul", "li", "main", "p", "dl", "pre", "text",
    ] {
        let open = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    for part in [
        "width=device-width",
        "prefers-color-scheme:dark",
        "@media print",
        "arXiv 2305.14314",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

/// What a comparison says that does not depend on the clock.
fn lasting(report: &Value) -> Value {
    let methods = report["methods"].as_array().unwrap().iter();
    let figures = methods.map(|method| {
        let names = [
            "method",
            "peak_device_bytes",
            "accuracy",
            "eval_loss",
            "train_loss",
            "curve",
            "adapter_bytes",
        ];
        names.map(|name| method[name].clone()).to_vec()
    });
    figures.flatten().collect()
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "{}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_comparison_that_is_killed_goes_on_with_the_run_that_it_was_in() {
    let place = Place::new();
    let more = "--device cpu --methods lora,qlora-dq --dropout 0.1";
    ends(start(&place.arguments("whole", more)), 0);
    let mut child = start(&place.arguments("killed", more));
    wait_for(&place.path("killed/runs/qlora-dq-seed7/checkpoints/step-000002"));
    child.kill().unwrap();
    child.wait().unwrap();
    let first = place.path("killed/runs/lora-seed7/metrics.jsonl");
    let before = first.metadata().unwrap().modified().unwrap();
    assert!(!place.path("killed/report.html").exists());
    let (_, stderr) = ends(start(&place.resume("killed")), 0);
    assert!(!stderr.contains("run 1 of 4"), "{stderr}");
    assert_eq!(first.metadata().unwrap().modified().unwrap(), before);
    let (whole, killed) = (place.report("whole"), place.report("killed"));
    assert_eq!(lasting(&killed), lasting(&whole));
    assert_eq!(killed["runs"][1]["processes"], 2);
    assert_eq!(killed["runs"][2]["processes"], 1);
}
