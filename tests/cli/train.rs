//! `anylora train` on the CPU engine: runs that end, are stopped or killed and go on, and requests that are wrong.

use std::path::{Path, PathBuf};
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
                    --packing false --lr 1e-3 --seed 7";
        arguments.extend(rest.split_whitespace().map(str::to_owned));
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

/// SplitMix64 (Steele, Lea and Flood, 2014): a fraction of 1.
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn a_run_that_is_killed_anywhere_goes_on_to_the_same_bytes() {
    let place = Place::new();
    let (time, metrics, adapter) = place.whole();
    assert_eq!(metrics.len(), 8);
    for name in [
        "config.toml",
        "loss.svg",
        "summary.json",
        "checkpoints/step-000008",
    ] {
        assert!(place.path("whole").join(name).exists(), "{name}");
    }
    for seed in 0..4_u64 {
        let out = format!("killed-{seed}");
        let mut state = seed;
        let mut kills = 0;
        for _ in 0..3 {
            let begun = place.path(&out).join("config.toml").exists();
            let mut child = start_with(&if begun {
                place.resume(&out)
            } else {
                place.arguments(&out)
            });
            std::thread::sleep(time.mul_f64(random(&mut state)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
            finish(child);
        }
        if place.path(&out).join("config.toml").exists() {
            succeeds(&place.resume(&out));
        } else {
            succeeds(&place.arguments(&out));
        }
        println!("seed {seed}: {kills} kills");
        assert!(place.adapter(&out) == adapter, "seed {seed}");
        assert_eq!(place.metrics(&out), metrics, "seed {seed}");
        assert_eq!(place.unfinished(&out), Vec::<PathBuf>::new());
    }
}

/// Waits until a file is there.
fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_and_says_how_to_go_on() {
    let place = Place::new();
    let (_, metrics, adapter) = place.whole();
    let child = start_with(&place.arguments("stopped"));
    wait_for(&place.path("stopped").join("checkpoints/step-000001"));
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let output = finish(child);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(text(&output.stdout), "");
    let again = format!("anylora train --resume --out {}", place.path("stopped").display());
    assert!(said.contains(&format!("hint: {again}")), "{said}");
    let done = place.metrics("stopped").len();
    assert!((1..8).contains(&done), "{said}");
    assert!(said.contains(&format!("stopped after step {done}")), "{said}");
    let checkpoint = place.path("stopped").join(format!("checkpoints/step-{done:06}"));
    assert!(checkpoint.join("state.safetensors").exists());
    let said = succeeds(&place.resume("stopped"));
    assert!(said.contains(&format!("{done} done already")), "{said}");
    assert!(place.adapter("stopped") == adapter);
    assert_eq!(place.metrics("stopped"), metrics);
}

/// A limit on the size of files stands in for a full disk: the same write fails, with another errno.
#[cfg(unix)]
#[test]
fn a_full_disk_is_told_with_the_file_and_leaves_nothing_half_written() {
    let place = Place::new();
    let (_, metrics, adapter) = place.whole();
    let limited = |arguments: &[String]| {
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_anylora"))
            .args(arguments)
            .env_remove("ANYLORA_DEVICE")
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("error: ") && error.contains("state.safetensors: "),
            "{error}"
        );
        assert_eq!(place.unfinished("full"), Vec::<PathBuf>::new());
        assert!(!place.path("full").join("adapter").exists());
    };
    let checkpoints = || {
        std::fs::read_dir(place.path("full").join("checkpoints"))
            .unwrap()
            .count()
    };
    limited(&place.arguments("full"));
    assert_eq!(checkpoints(), 0);
    // Some way on, by a run that is stopped.
    let mut child = start_with(&place.resume("full"));
    wait_for(&place.path("full").join("checkpoints/step-000002"));
    child.kill().unwrap();
    finish(child);
    limited(&place.resume("full"));
    assert!((1..=2).contains(&checkpoints()));
    succeeds(&place.resume("full"));
    assert!(place.adapter("full") == adapter);
    assert_eq!(place.metrics("full"), metrics);
}

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
        ("--model", "nothing-here", vec!["nothing-here"]),
        ("--device", "gpu", vec!["gpu"]),
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
    // A run that is done is done.
    succeeds(&place.resume("run"));
    assert!(place.adapter("run") == before);
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

#[track_caller]
fn succeeds_with_stdout(arguments: &[String]) -> String {
    let output = finish(start_with(arguments));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}
