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
