//! `anylora plan`: the figures, what fits, the table.

use serde_json::Value;

use crate::run;

fn json(arguments: &[&str]) -> Value {
    let arguments = [&["plan", "--json"], arguments].concat();
    serde_json::from_str(&run(&arguments, 0).0).unwrap()
}

fn total(plan: &Value) -> u64 {
    plan["peak_device_bytes"]["total"].as_u64().unwrap()
}

const GIB: u64 = 1 << 30;

/// The plan's peak against the ledger's in a run whose rows are all full.
#[test]
fn the_planned_peak_is_what_training_takes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let ids: Vec<String> = (0..32).map(|id| (id + 5).to_string()).collect();
    let record = format!("{{\"input_ids\": [{}]}}\n", ids.join(","));
    std::fs::write(&data, record.repeat(8)).unwrap();
    for (model, quant, recompute, max_length) in [
        ("tiny-llama", "none", "true", "32"),
        ("tiny-qwen2", "nf4", "true", "32"),
        ("tiny-llama", "nf4", "false", "32"),
        ("tiny-qwen3", "none", "false", "16"),
        // Stored in 4 bits, which it stays.
        ("tiny-llama-bnb-nf4", "none", "true", "32"),
    ] {
        let out = folder.path().join(format!("{model}-{quant}-{recompute}"));
        let model = format!("{}/../tests/fixtures/tiny/{model}", env!("CARGO_MANIFEST_DIR"));
        let settings = [
            "--model",
            &model,
            "--quant",
            quant,
            "--recompute",
            recompute,
            "--max-length",
            max_length,
            "--batch-size",
            "3",
            "--grad-accum",
            "2",
            "--rank",
            "4",
            "--packing",
            "false",
            "--device",
            "cpu",
        ];
        let plan = json(&settings);
        let kinds = plan["peak_device_bytes"]["by_kind"].as_object().unwrap();
        assert_eq!(
            kinds.values().filter_map(Value::as_u64).sum::<u64>(),
            total(&plan)
        );
        let (data, out_text) = (data.display().to_string(), out.display().to_string());
        let files = ["train", "--data", &data, "--out", &out_text, "--steps", "1"];
        run(&[&files, &settings[..]].concat(), 0);
        let summary = std::fs::read(out.join("summary.json")).unwrap();
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        assert_eq!(
            summary["peak_device_bytes"], plan["peak_device_bytes"],
            "{model}, {quant}, recompute {recompute}, {max_length} tokens"
        );
    }
}

#[test]
fn methods_differ_by_the_weights() {
    let lora = json(&["--shape", "llama-7b", "--method", "lora"]);
    let qlora = json(&["--shape", "llama-7b", "--method", "qlora"]);
    let weights = |plan: &Value| plan["peak_device_bytes"]["by_kind"]["weights"].as_u64().unwrap();
    assert_eq!(lora["base_parameters"], 6_738_415_616_u64);
    // Rank 16 on all linear layers: (4096 + 4096) * 4 and (4096 + 11008) * 3 a block.
    assert_eq!(lora["trainable_parameters"], 16 * 32 * (8192 * 4 + 15104 * 3));
    // Two bytes a parameter, and the norms in four.
    let matrices = 6_738_415_616 - 65 * 4096;
    assert!(weights(&lora) >= matrices * 2 && weights(&lora) < matrices * 2 + (8 << 20));
    assert!(weights(&qlora) > 3 * GIB && weights(&qlora) < 4 * GIB);
    assert_eq!(lora["flops_per_step"], qlora["flops_per_step"]);
    let text = run(&["plan", "--shape", "llama-7b"], 0).0;
    assert!(
        text.contains("6,738,415,616 parameters, 39,976,960 trained"),
        "{text}"
    );
}

#[test]
fn what_fits_is_the_largest_that_does() {
    let question = ["--shape", "llama-7b", "--vram", "12GiB", "--reserve", "0"];
    let plan = json(&question);
    assert_eq!(plan["vram"]["fits"], true);
    let limits = plan["vram"]["limits"].as_array().unwrap();
    let find = |method: &str| {
        let mut found = limits
            .iter()
            .filter(|of| of["method"] == method && of["recompute"] == true);
        found.next().unwrap()
    };
    assert_eq!(find("lora")["batch_size"], Value::Null);
    for (setting, option, step) in [
        ("batch_size", "--batch-size", 1),
        ("max_length", "--max-length", 8),
        ("rank", "--rank", 1),
    ] {
        let largest = find("qlora")[setting].as_u64().unwrap();
        let at = |value: u64| total(&json(&["--shape", "llama-7b", option, &value.to_string()]));
        assert!(at(largest) <= 12 * GIB, "{setting} {largest}");
        assert!(at(largest + step) > 12 * GIB, "{setting} {largest}");
    }
}

#[test]
fn where_it_does_not_fit_the_nearest_setting_does() {
    let question = [
        "--shape",
        "llama3-8b",
        "--method",
        "lora",
        "--batch-size",
        "16",
        "--recompute",
        "false",
    ];
    let plan = json(&[&question[..], &["--vram", "12GiB"]].concat());
    assert_eq!(plan["vram"]["fits"], false);
    let nearest = &plan["vram"]["nearest"];
    let options: Vec<&str> = nearest["options"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|option| option.as_str().unwrap().split(' '))
        .collect();
    assert!(
        options.contains(&"nf4") && options.contains(&"--grad-accum"),
        "{options:?}"
    );
    let changed = json(&[&["--shape", "llama3-8b"], &options[..]].concat());
    assert_eq!(total(&changed), nearest["peak_bytes"].as_u64().unwrap());
    assert!(total(&changed) <= 12 * GIB - (512 << 20));
    // Nothing makes 65 billion parameters fit into 8 GiB.
    let (text, _) = run(&["plan", "--shape", "llama-65b", "--vram", "8GiB"], 0);
    assert!(text.contains("a smaller model does: --shape"), "{text}");
}

#[test]
fn the_table_says_the_same_in_three_forms() {
    let arguments = ["--table", "--shape", "llama-7b", "--max-length", "512"];
    let table = json(&arguments);
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        rows[0]["batch_size"][0],
        Value::Null,
        "16-bit weights do not fit into 8 GB"
    );
    let counts: Vec<u64> = rows[1]["batch_size"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| count.as_u64().unwrap())
        .collect();
    assert!(
        counts.len() == 7 && counts.is_sorted() && counts[0] > 0,
        "{counts:?}"
    );
    let csv = run(&[&["plan", "--csv"], &arguments[..]].concat(), 0).0;
    assert_eq!(csv.lines().count(), 1 + 2 * 7);
    assert!(
        csv.contains(&format!("llama-7b,qlora,16,512,80,{},", counts[6])),
        "{csv}"
    );
    let text = run(&[&["plan"], &arguments[..]].concat(), 0).0;
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("llama-7b") && last.ends_with(&counts[6].to_string()),
        "{text}"
    );
}

#[test]
fn wrong_requests_end_with_2() {
    let (_, error) = run(&["plan"], 2);
    assert!(error.contains("--shape llama-7b"), "{error}");
    let (_, error) = run(&["plan", "--shape", "llama-8b"], 2);
    assert!(error.contains("llama3-8b"), "{error}");
    let (_, error) = run(&["plan", "--shape", "llama-7b", "--vram", "much"], 2);
    assert!(error.contains("12GiB"), "{error}");
    let (_, error) = run(&["plan", "--shape", "llama-7b", "--rank", "0"], 2);
    assert!(error.contains("rank should be from 1"), "{error}");
    run(
        &[
            "plan", "--shape", "llama-7b", "--method", "lora", "--quant", "nf4",
        ],
        2,
    );
    run(&["plan", "--shape", "llama-7b", "--csv"], 2);
}

#[test]
fn a_device_is_measured_once() {
    let cache = tempfile::tempdir().unwrap();
    let model = format!("{}/../tests/fixtures/tiny/tiny-llama", env!("CARGO_MANIFEST_DIR"));
    let plan = |more: &[&str]| {
        let arguments = [
            "plan",
            "--model",
            &model,
            "--device",
            "software",
            "--max-length",
            "32",
            "--json",
        ];
        let mut command = crate::anylora(&[&arguments[..], more].concat());
        let output = command.env("XDG_CACHE_HOME", cache.path()).assert().success();
        let output = output.get_output();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let measured = String::from_utf8_lossy(&output.stderr).contains("for two seconds");
        (plan, measured)
    };
    let (unmeasured, measured) = plan(&["--no-probe"]);
    assert!(!measured && unmeasured["estimated_seconds_per_step"].is_null());
    // A software driver compiles with LLVM in this process: that is some megabytes.
    let driver = unmeasured["device"]["opening"]["host_bytes"].as_u64().unwrap();
    assert!(driver > 1 << 20 && driver < GIB, "{driver}");
    let (first, measured) = plan(&[]);
    assert!(measured);
    let (second, measured) = plan(&[]);
    assert!(!measured && first["device"]["ceilings"] == second["device"]["ceilings"]);
    let seconds = first["estimated_seconds_per_step"].as_f64().unwrap();
    let ceilings = |name: &str| first["device"]["ceilings"][name].as_f64().unwrap();
    let number = |name: &str| first[name].as_f64().unwrap();
    let expected = number("flops_per_step") / ceilings("flops_per_second")
        + number("elementwise_bytes_per_step") / ceilings("bytes_per_second")
        + number("launches_per_step") * ceilings("seconds_per_launch");
    assert!(
        (seconds / expected - 1.0).abs() < 1e-9 && seconds > 0.0,
        "{seconds} {expected}"
    );
    assert!(plan(&["--probe-again"]).1, "the cache is left aside");
    // Another format of the weights is another product.
    let (_, measured) = plan(&["--method", "lora"]);
    assert!(measured);
}

#[test]
fn what_recompute_and_packing_change_is_what_plans_say() {
    let settings = ["--shape", "qwen2.5-0.5b", "--max-length", "256"];
    let plan = json(&[&settings[..], &["--vram", "8GiB"]].concat());
    for (option, name) in [("--recompute", "recompute"), ("--packing", "packing")] {
        for (value, key) in [("true", "on"), ("false", "off")] {
            let with = json(&[&settings[..], &[option, value]].concat());
            assert_eq!(plan["vram"][name][key], total(&with), "{name} {value}");
        }
    }
    let limits = plan["vram"]["limits"].as_array().unwrap();
    assert!(limits.iter().any(|of| of["packing"] == false));
    let host = &plan["peak_host_bytes"];
    let kinds = host["by_kind"].as_object().unwrap();
    let sum: u64 = kinds.values().filter_map(Value::as_u64).sum();
    assert_eq!(host["total"], sum);
}

/// The highest resident memory of a run on the CPU engine, looked at from outside, against the plan; and a step's time
/// against its estimate.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs the model that scripts/fetch-smollm2 smollm2-q4_1 gets, and a release build"]
fn on_the_cpu_engine_the_plan_is_near_what_the_system_sees() {
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or(std::env::var("HOME").unwrap() + "/.cache");
    let model = format!("{cache}/anylora/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let data = format!(
        "{}/../examples/movie_snippets_train.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let folder = tempfile::tempdir().unwrap();
    for (quant, recompute) in [
        ("none", "false"),
        ("nf4", "false"),
        ("nf4", "true"),
        ("none", "true"),
    ] {
        let settings = [
            "--model",
            &model,
            "--quant",
            quant,
            "--recompute",
            recompute,
            "--max-length",
            "128",
            "--device",
            "cpu",
            "--train-on",
            "all",
        ];
        let plan = json(&settings);
        let planned = plan["peak_host_bytes"]["total"].as_f64().unwrap();
        let out = folder.path().join(format!("{quant}-{recompute}"));
        let out_text = out.display().to_string();
        let files = ["train", "--data", &data, "--out", &out_text, "--steps", "3"];
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_anylora"))
            .args([&files, &settings[..]].concat())
            .stderr(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut resident = 0;
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
            resident = resident.max(kib.unwrap_or(0) * 1024);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(child.wait().unwrap().success());
        let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let mut seconds: Vec<f64> = metrics
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["seconds"].as_f64())
            .collect();
        seconds.sort_by(f64::total_cmp);
        let (step, estimate) = (seconds[1], plan["estimated_seconds_per_step"].as_f64().unwrap());
        println!(
            "{quant}, recompute {recompute}: planned {planned}, resident {resident}, ratio {:.3}; a step {step:.2} s, \
             estimated {estimate:.2} s, ratio {:.2}",
            planned / resident as f64,
            estimate / step
        );
        assert!(
            (planned / resident as f64 - 1.0).abs() < 0.1,
            "{quant}, recompute {recompute}"
        );
        assert!(
            (0.33..3.0).contains(&(estimate / step)),
            "{quant}, recompute {recompute}"
        );
    }
}
