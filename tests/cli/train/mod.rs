//! `anylora train` on the CPU engine: a place with data, and what tests do there.

mod requests;
mod stops;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn model() -> String {
    format!("{}/../tests/fixtures/tiny/tiny-llama", env!("CARGO_MANIFEST_DIR"))
}

/// A folder with data to train on.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = (0..9)
            .map(|i| {
                let (prompt, completion) = ("ab".repeat(i % 4 + 1), " xyz".repeat(i % 3 + 1));
                format!("{{\"prompt\": \"{prompt}{i}\", \"completion\": \"{completion}\"}}\n")
            })
            .collect();
        std::fs::write(folder.path().join("data.jsonl"), lines).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    /// The arguments of a run of 8 steps into `out` that saves each.
    fn arguments(&self, out: &str) -> Vec<String> {
        let (data, out) = (self.path("data.jsonl"), self.path(out));
        let mut arguments = vec!["train".to_owned(), "--model".to_owned(), model()];
        for (option, path) in [("--data", data), ("--out", out)] {
            arguments.extend([option.to_owned(), path.display().to_string()]);
        }
        let rest = "--device cpu --steps 8 --save-every 1 --batch-size 2 --max-length 32 --rank 4 --dropout 0.1 \
                    --packing false --lr 1e-3 --seed 7 --tensorboard";
        arguments.extend(rest.split_whitespace().map(str::to_owned));
        arguments
    }

    /// Data in messages, and a model whose chat template writes the day.
    fn dated(&self, out: &str) -> Vec<String> {
        let dated = self.path("dated");
        std::fs::create_dir_all(&dated).unwrap();
        for entry in std::fs::read_dir(model()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), dated.join(entry.file_name())).unwrap();
            }
        }
        let template = std::fs::read_to_string(dated.join("chat_template.jinja")).unwrap();
        let template = format!("{{{{ strftime_now('%d %B %Y') }}}}{template}");
        std::fs::write(dated.join("chat_template.jinja"), template).unwrap();
        let line =
            r#"{"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "xyz"}]}"#;
        let data = self.write("messages.jsonl", &format!("{line}\n").repeat(5));
        let mut arguments = self.arguments(out);
        for (option, value) in [
            ("--model", dated.display().to_string()),
            ("--data", data),
            ("--max-length", "64".to_owned()),
        ] {
            let at = arguments.iter().position(|argument| argument == option).unwrap();
            arguments[at + 1] = value;
        }
        arguments
    }

    fn resume(&self, out: &str) -> Vec<String> {
        let out = self.path(out).display().to_string();
        ["train", "--resume", "--out", &out].map(str::to_owned).to_vec()
    }

    /// The adapter's two files.
    fn adapter(&self, out: &str) -> [Vec<u8>; 2] {
        let adapter = self.path(out).join("adapter");
        ["adapter_config.json", "adapter_model.safetensors"]
            .map(|name| std::fs::read(adapter.join(name)).unwrap())
    }

    /// What `metrics.jsonl` says, without the time that it took.
    fn metrics(&self, out: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(out).join("metrics.jsonl")).unwrap();
        let metric = |line: &str| {
            let mut metric: Value = serde_json::from_str(line).unwrap();
            metric.as_object_mut().unwrap().remove("seconds");
            metric
        };
        text.lines().map(metric).collect()
    }

    /// The length of TensorBoard's event file: that of an event follows from its kind and step.
    fn event_bytes(&self, out: &str) -> u64 {
        let entries = std::fs::read_dir(self.path(out)).unwrap();
        let files: Vec<_> = entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().contains("tfevents"))
            .collect();
        assert_eq!(files.len(), 1);
        files[0].metadata().unwrap().len()
    }

    /// What a run that was never stopped gives.
    fn whole(&self) -> (Duration, Vec<Value>, [Vec<u8>; 2]) {
        let start = Instant::now();
        let output = finish(start_with(&self.arguments("whole")));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let adapter = self.path("whole").join("adapter");
        assert_eq!(text(&output.stdout), format!("{}\n", adapter.display()));
        (start.elapsed(), self.metrics("whole"), self.adapter("whole"))
    }

    /// Everything in a run folder that is being written, or was.
    fn unfinished(&self, out: &str) -> Vec<PathBuf> {
        let folders = [self.path(out), self.path(out).join("checkpoints")];
        let entries = folders
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.to_string_lossy().contains(".writing-"))
            .collect()
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anylora"));
    command.env_remove("ANYLORA_DEVICE").env_remove("RUST_LOG");
    command
}

fn start_with(arguments: &[String]) -> Child {
    let piped = command()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    piped.unwrap()
}

fn finish(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs to an end that isn't 0: what it said on stderr.
#[track_caller]
fn fails(arguments: &[String], code: i32) -> String {
    let output = finish(start_with(arguments));
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(text(&output.stdout), "");
    error
}

#[track_caller]
fn succeeds(arguments: &[String]) -> String {
    let output = finish(start_with(arguments));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

#[track_caller]
fn succeeds_with_stdout(arguments: &[String]) -> String {
    let output = finish(start_with(arguments));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}
