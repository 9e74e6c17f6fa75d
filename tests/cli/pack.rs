//! `anylora pack`: what it writes answers as its source does.

use std::path::Path;

use serde_json::Value;

use crate::run;

fn fixture(name: &str) -> String {
    format!("{}/../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn answer(model: &str, quant: &str) -> String {
    let arguments = [
        "generate",
        "--device",
        "cpu",
        "--model",
        model,
        "--quant",
        quant,
        "--prompt",
        "tell me a story",
        "--max-tokens",
        "16",
    ];
    run(&arguments, 0).0
}

#[test]
fn a_pack_answers_as_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("packed").display().to_string();
    let source = fixture("tiny/tiny-llama");
    let (stdout, stderr) = run(&["pack", "--model", &source, "--out", &out], 0);
    assert_eq!(stdout.trim_end(), out);
    assert!(stderr.contains("files, 0."), "{stderr}");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(Path::new(&out).join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["format"], "anylora-pack");
    assert_eq!(
        (&manifest["name"], &manifest["quantization"]),
        (&"tiny-llama".into(), &"nf4".into())
    );
    assert_eq!(answer(&out, "none"), answer(&source, "nf4"));

    // Again, in many shards: the old ones are gone.
    let more = [
        "pack",
        "--model",
        &source,
        "--out",
        &out,
        "--max-shard-size",
        "20KiB",
        "--quant",
        "none",
    ];
    run(&more, 0);
    assert_eq!(answer(&out, "none"), answer(&source, "none"));
    assert!(!Path::new(&out).join("model-00001-of-00001.safetensors").exists());
}

#[test]
fn wrong_requests_leave_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    std::fs::write(folder.path().join("mine.txt"), "mine").unwrap();
    let source = fixture("gguf/tiny-llama.gguf");
    let (_, stderr) = run(&["pack", "--model", &source, "--out", &out], 2);
    assert!(
        stderr.contains("holds something that is no pack") && stderr.contains("hint: --out"),
        "{stderr}"
    );
    let (_, stderr) = run(
        &[
            "pack",
            "--model",
            &source,
            "--out",
            &out,
            "--max-shard-size",
            "1GiB",
        ],
        2,
    );
    assert!(stderr.contains("expected at most 64MiB"), "{stderr}");
    let (_, stderr) = run(&["pack", "--model", "nowhere", "--out", &out], 2);
    assert!(stderr.contains("nowhere"), "{stderr}");
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["mine.txt"]);
}
