//! Runs that are killed, stopped or out of disk, and go on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Place, fails, finish, start_with, succeeds, text};

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
    for seed in 0..3_u64 {
        let out = format!("killed-{seed}");
        let mut state = seed;
        let mut kills = 0;
        for _ in 0..2 {
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
        assert_eq!(place.event_bytes(&out), place.event_bytes("whole"), "seed {seed}");
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
        assert!(
            error.contains("hint: when that is mended: anylora train --resume --out "),
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
    assert_eq!(place.event_bytes("full"), place.event_bytes("whole"));
}

#[test]
fn a_run_that_goes_on_later_sees_the_day_of_its_beginning() {
    let place = Place::new();
    let dated = |out: &str, day: &str| {
        let mut arguments = place.dated(out);
        arguments.extend(["--template-time".to_owned(), day.to_owned()]);
        arguments
    };
    succeeds(&dated("whole", "2024-07-26"));
    succeeds(&dated("other", "2024-11-25"));
    assert_ne!(place.metrics("other"), place.metrics("whole"));
    let mut child = start_with(&dated("broken", "2024-07-26"));
    wait_for(&place.path("broken").join("checkpoints/step-000001"));
    child.kill().unwrap();
    finish(child);
    succeeds(&place.resume("broken"));
    assert_eq!(place.metrics("broken"), place.metrics("whole"));
    assert!(place.adapter("broken") == place.adapter("whole"));
    // Without the option it is the time of now, which the run's settings keep.
    succeeds(&place.dated("now"));
    let settings = std::fs::read_to_string(place.path("now").join("config.toml")).unwrap();
    assert!(settings.contains("template_time = \"20"), "{settings}");
}

#[test]
fn what_was_broken_meanwhile_is_named_with_a_way_on() {
    let place = Place::new();
    let (_, metrics, adapter) = place.whole();
    let run = place.path("whole");
    let newest = run.join("checkpoints/step-000008");
    let (progress, state) = (newest.join("progress.json"), newest.join("state.safetensors"));
    let hint = format!("hint: remove the folder {}", newest.display());
    for (file, keep) in [(&progress, 20), (&progress, 0), (&state, 1000), (&state, 0)] {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..keep]).unwrap();
        let error = fails(&place.resume("whole"), 1);
        let message = format!("{}: the checkpoint can't be read: ", file.display());
        assert!(error.contains(&message) && error.contains(&hint), "{error}");
        std::fs::write(file, bytes).unwrap();
    }
    let text = std::fs::read_to_string(&progress).unwrap();
    std::fs::write(&progress, text.replace("\"step\": 8", "\"step\": 9")).unwrap();
    let error = fails(&place.resume("whole"), 1);
    assert!(
        error.contains("it says step 9") && error.contains(&hint),
        "{error}"
    );
    // The hint is right: from the checkpoint before, and from none, it comes to the same.
    std::fs::remove_dir_all(&newest).unwrap();
    let data = place.path("data.jsonl");
    let lines = std::fs::read_to_string(&data).unwrap();
    std::fs::write(&data, lines.replacen("xyz", "zyx", 1)).unwrap();
    let error = fails(&place.resume("whole"), 2);
    assert!(
        error.contains("data.jsonl is not the data that the run began with"),
        "{error}"
    );
    assert!(error.contains("hint: put the file back"), "{error}");
    std::fs::write(&data, lines).unwrap();
    succeeds(&place.resume("whole"));
    assert!(place.adapter("whole") == adapter);
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    std::fs::write(run.join("metrics.jsonl"), b"{\"step\": 1, \"lo\xFF\n").unwrap();
    succeeds(&place.resume("whole"));
    assert!(place.adapter("whole") == adapter);
    assert_eq!(place.metrics("whole"), metrics);
}
