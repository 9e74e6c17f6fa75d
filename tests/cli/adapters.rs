//! `anylora merge` and `anylora export`: what becomes of an adapter.

use std::path::Path;

use crate::run;

fn tiny(name: &str) -> String {
    format!("{}/../tests/fixtures/tiny/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_merged_model_answers_as_base_and_adapter_do() {
    let (model, folder) = (tiny("tiny-llama"), tempfile::tempdir().unwrap());
    let adapter = format!("{model}/reference/lora_f32_adapter_final");
    let out = folder.path().join("merged");
    let out_text = out.display().to_string();
    let shared = ["--device", "cpu", "--model"];
    let merge = [
        &["merge", "--dtype", "f32", "--out", &out_text][..],
        &shared,
        &[&model, "--adapter", &adapter],
    ]
    .concat();
    let (stdout, stderr) = run(&merge, 0);
    assert_eq!(stdout.trim(), out_text);
    let drift = stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("base + adapter to merged: "));
    let drift: f32 = drift.unwrap().parse().unwrap();
    assert!(drift < 1e-5, "{stderr}");

    let ask = [
        "generate",
        "--raw",
        "--prompt",
        "The",
        "--max-tokens",
        "8",
        "--temperature",
        "0",
    ];
    let merged = run(&[&ask[..], &shared, &[&out_text]].concat(), 0).0;
    let apart = run(&[&ask[..], &shared, &[&model, "--adapter", &adapter]].concat(), 0).0;
    assert_eq!(merged, apart);

    // What is there stays as it is.
    let before = names(&out);
    let (_, error) = run(&merge, 2);
    assert!(
        error.contains("expected a new folder") && error.contains("hint: --out"),
        "{error}"
    );
    assert_eq!(names(&out), before);
    assert_eq!(names(folder.path()), ["merged"]);
}

#[test]
fn what_is_no_adapter_of_the_model_is_refused() {
    let (model, folder) = (tiny("tiny-llama"), tempfile::tempdir().unwrap());
    let out = folder.path().join("merged").display().to_string();
    let others = format!("{}/reference/lora_f32_adapter_final", tiny("tiny-qwen3"));
    for (adapter, expected) in [
        (
            others.as_str(),
            "hint: pass the base model that it was trained on",
        ),
        (&model, "found no adapter_config.json"),
    ] {
        let arguments = [
            "merge",
            "--device",
            "cpu",
            "--model",
            &model,
            "--adapter",
            adapter,
            "--out",
            &out,
        ];
        let (_, error) = run(&arguments, 2);
        assert!(error.contains(expected), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_adapter_is_exported_into_a_folder_that_is_made() {
    let (model, folder) = (tiny("tiny-llama"), tempfile::tempdir().unwrap());
    let adapter = format!("{model}/reference/lora_f32_adapter_final");
    let file = folder.path().join("new/adapter.gguf");
    let export = |to: &Path, code| {
        let to = to.display().to_string();
        run(
            &["export", "--adapter", &adapter, "--model", &model, "--gguf", &to],
            code,
        )
    };
    export(&file, 0);
    assert!(std::fs::read(&file).unwrap().starts_with(b"GGUF"));
    assert_eq!(names(file.parent().unwrap()), ["adapter.gguf"]);

    let (_, error) = export(folder.path(), 2);
    assert!(
        error.contains("expected a file to write, found a folder"),
        "{error}"
    );
    // The error names what was asked for, not what is written first.
    let (_, error) = export(&file.join("below"), 1);
    assert!(
        error.contains("adapter.gguf") && !error.contains("/.below"),
        "{error}"
    );
    assert_eq!(error.matches("caused by").count(), 0, "{error}");
}
