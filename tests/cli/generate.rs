//! `anylora generate`, `chat`, `inspect` and `fetch` on the CPU engine.

use serde_json::Value;

use crate::{anylora, run};

fn fixture(name: &str) -> String {
    format!("{}/../tests/fixtures/tiny/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The reference's greedy continuation as text, and its prompt.
fn generate(model: &str, more: &[&str]) -> (String, String) {
    let model = fixture(model);
    let mut arguments = vec![
        "generate",
        "--device",
        "cpu",
        "--model",
        &model,
        "--prompt",
        "tell me a story",
    ];
    arguments.extend(more);
    run(&arguments, 0)
}

#[test]
fn the_text_alone_goes_to_stdout_and_the_speed_to_stderr() {
    let (text, speed) = generate("tiny-llama", &["--max-tokens", "12"]);
    assert!(text.ends_with('\n') && text.len() > 1, "{text:?}");
    assert!(speed.contains("tokens/s"), "{speed}");
    assert_eq!(generate("tiny-llama", &["--max-tokens", "12"]).0, text);
    let (raw, _) = generate("tiny-llama", &["--max-tokens", "12", "--raw"]);
    assert_ne!(raw, text, "the chat template changes the prompt");
}

#[test]
fn a_seed_repeats_and_a_stop_string_ends() {
    let sample = |seed| {
        let more = [
            "--raw",
            "--max-tokens",
            "16",
            "--temperature",
            "1.5",
            "--top-k",
            "50",
            "--seed",
            seed,
        ];
        generate("tiny-qwen2", &more).0
    };
    let text = sample("1");
    assert_eq!(text, sample("1"));
    assert_ne!(text, sample("2"));
    let (whole, _) = generate("tiny-qwen2", &["--raw", "--max-tokens", "16"]);
    let stop: String = whole.trim_end().chars().skip(3).take(2).collect();
    let (cut, speed) = generate("tiny-qwen2", &["--raw", "--max-tokens", "16", "--stop", &stop]);
    assert!(
        whole.starts_with(cut.trim_end_matches('\n')) && cut.len() < whole.len(),
        "{whole:?} {cut:?}"
    );
    assert!(
        !cut.contains(&stop) && speed.contains("stop string"),
        "{cut:?} {speed}"
    );
}

#[test]
fn an_adapter_changes_the_answer_and_must_fit() {
    let adapter = fixture("tiny-llama/reference/lora_f32_adapter_final");
    let base = generate("tiny-llama", &["--raw", "--max-tokens", "24"]).0;
    let adapted = generate(
        "tiny-llama",
        &["--raw", "--max-tokens", "24", "--adapter", &adapter],
    )
    .0;
    assert_ne!(base, adapted);
    let model = fixture("tiny-qwen3");
    let arguments = [
        "generate",
        "--device",
        "cpu",
        "--model",
        &model,
        "--adapter",
        &adapter,
        "--prompt",
        "x",
    ];
    let (_, error) = run(&arguments, 2);
    // q_proj, k_proj, v_proj and o_proj of both blocks have other widths.
    assert!(error.contains("8 bad tensors"), "{error}");
    assert!(
        error.contains("model.layers.1.self_attn.o_proj.lora_A.weight`: expected [")
            && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn quantized_while_loading_and_quantized_in_the_file_are_the_same() {
    let while_loading = generate("tiny-llama", &["--quant", "nf4", "--max-tokens", "12"]).0;
    assert_eq!(
        generate("tiny-llama-bnb-nf4", &["--max-tokens", "12"]).0,
        while_loading
    );
}

#[test]
fn the_cache_of_packed_weights_is_used_until_the_model_changes() {
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let copy = |from: &str| {
        for entry in std::fs::read_dir(fixture(from)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let to = model.join(path.file_name().unwrap());
                std::fs::write(to, std::fs::read(&path).unwrap()).unwrap();
            }
        }
    };
    let start = || {
        let model = model.to_str().unwrap();
        let more = [
            "--quant",
            "nf4",
            "--cache",
            "--raw",
            "--prompt",
            "hello",
            "--max-tokens",
            "8",
        ];
        let output = anylora(&[&["generate", "--device", "cpu", "--model", model], &more[..]].concat())
            .env("XDG_CACHE_HOME", home.path())
            .env("HOME", home.path())
            .assert()
            .success()
            .get_output()
            .clone();
        (
            output.stdout,
            String::from_utf8(output.stderr).unwrap().contains("packing"),
        )
    };
    copy("tiny-llama");
    let (text, packed) = start();
    assert!(packed);
    assert_eq!(start(), (text.clone(), false));
    // The same shapes with other values.
    copy("tiny-llama");
    let weights = model.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 200_000..].rotate_left(4);
    std::fs::write(&weights, bytes).unwrap();
    let (_, packed) = start();
    assert!(packed);
}

#[test]
fn wrong_requests_are_named() {
    for (arguments, message) in [
        (vec!["--model", "nothing-here"], "nothing-here"),
        (vec!["--top-p", "2"], "top_p: expected above 0"),
        (vec!["--raw", "--prompt", ""], "the prompt is empty"),
    ] {
        let model = fixture("tiny-llama");
        let mut all = vec!["generate", "--device", "cpu"];
        all.extend(&arguments);
        if !arguments.contains(&"--model") {
            all.extend(["--model", &model]);
        }
        if !arguments.contains(&"--prompt") {
            all.extend(["--prompt", "x"]);
        }
        let (stdout, error) = run(&all, 2);
        assert_eq!(stdout, "");
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_hub_id_that_is_not_in_the_cache_says_so_offline() {
    let home = tempfile::tempdir().unwrap();
    let output = anylora(&["inspect", "someone/some-model"])
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", home.path())
        .assert()
        .code(1)
        .get_output()
        .clone();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("someone/some-model is not in the hub's cache"),
        "{error}"
    );
    assert!(error.contains("hint:"), "{error}");
}

#[test]
fn chat_answers_each_line_and_reset_forgets() {
    let model = fixture("tiny-llama");
    let talk = |lines: &str| {
        let output = anylora(&["chat", "--device", "cpu", "--model", &model, "--max-tokens", "8"])
            .write_stdin(lines)
            .assert()
            .success()
            .get_output()
            .clone();
        String::from_utf8(output.stdout).unwrap()
    };
    let first = talk("hello\n");
    let twice = talk("hello\nhello\n");
    assert!(twice.starts_with(&first) && twice.len() > first.len());
    assert_eq!(talk("hello\n/reset\nhello\n"), format!("{first}{first}"));
    assert_eq!(talk("hello\n/exit\nhello\n"), first);
}

#[test]
fn inspect_tells_models_and_adapters() {
    let json =
        |path: &str| -> Value { serde_json::from_str(&run(&["inspect", path, "--json"], 0).0).unwrap() };
    let model = json(&fixture("tiny-llama-bnb-nf4"));
    assert_eq!(model["kind"], "model");
    assert_eq!(model["family"], "llama");
    assert_eq!(model["supported"], true);
    assert_eq!(model["parameters"], json(&fixture("tiny-llama"))["parameters"]);
    assert_eq!(model["tokenizer"]["end"][0]["text"], "<|im_end|>");
    assert!(model["formats"].to_string().contains("NF4"), "{model:#}");
    let adapter = json(&fixture("tiny-mistral/reference/adapter_init"));
    assert_eq!(adapter["kind"], "adapter");
    assert_eq!(
        (adapter["rank"].as_u64(), adapter["scaling"].as_f64()),
        (Some(8), Some(2.0))
    );
    assert_eq!(adapter["targets"], serde_json::json!(["q_proj", "v_proj"]));
    let (text, _) = run(&["inspect", &fixture("tiny-qwen3")], 0);
    assert!(
        text.contains("508,800") && text.contains("heads 4 of 64"),
        "{text}"
    );
}

#[test]
fn fetch_names_what_it_knows() {
    let (_, error) = run(&["fetch", "llama"], 2);
    assert!(
        error.contains("smollm2-q4_1") && error.contains("hint:"),
        "{error}"
    );
}
