//! What is wrong with a request, and what a memory limit leaves.

use serde_json::Value;

use super::{Place, ends, start};

#[test]
fn wrong_requests_are_named_and_leave_no_folder() {
    let place = Place::new();
    let missing = place.path("missing.jsonl").display().to_string();
    for (option, value, part) in [
        ("--quant", "nf4", "--methods lora,qlora,qlora-dq"),
        ("--methods", "lora,lora", "names one twice"),
        ("--methods", "full", "qlora-dq"),
        ("--seeds", "0", "--seeds"),
        ("--data", missing.as_str(), "missing.jsonl"),
        ("--eval-data", &missing, "missing.jsonl"),
        ("--target-modules", "p_proj", "p_proj"),
        ("--rank", "0", "rank should be from 1 to 1024"),
        ("--memory-limit", "much", "12GiB"),
        ("--memory-limit", "1000", "smaller model"),
        ("--device", "gpu", "gpu"),
    ] {
        let mut arguments = place.arguments("out", "--device cpu");
        match arguments.iter().position(|argument| argument == option) {
            Some(at) => arguments[at + 1] = value.to_owned(),
            None => arguments.extend([option.to_owned(), value.to_owned()]),
        }
        let (_, error) = ends(start(&arguments), 2);
        assert!(error.contains(part), "{option} {value}: {error}");
        assert!(!place.path("out").exists(), "{option} {value}");
    }
    let (_, error) = ends(start(&place.resume("out")), 2);
    assert!(error.contains("leave --resume out"), "{error}");
    let (_, error) = ends(
        start(&["compare".to_owned(), "--out".to_owned(), "x".to_owned()]),
        2,
    );
    assert!(error.contains("no model was given"), "{error}");
}

#[test]
fn a_memory_limit_leaves_out_what_takes_more_and_a_folder_is_one_comparison() {
    let place = Place::new();
    let short = "--device cpu";
    let mut plan = place.arguments("limited", short);
    plan[0] = "plan".to_owned();
    plan.extend(["--json", "--quant", "none", "--dtype", "bf16"].map(str::to_owned));
    let plan: Value = serde_json::from_str(&ends(start(&plan), 0).0).unwrap();
    let peak = plan["peak_device_bytes"]["total"].as_u64().unwrap();
    let more = format!(
        "{short} --methods lora,qlora-dq --seeds 1 --memory-limit {}",
        peak - 1
    );
    ends(start(&place.arguments("limited", &more)), 0);
    let report = place.report("limited");
    assert_eq!(report["not_run"][0]["method"], "lora");
    assert_eq!(report["not_run"][0]["peak_bytes"], peak);
    assert_eq!(report["recommendation"]["method"], "qlora-dq");
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    assert!(
        place
            .read("limited/report.html")
            .contains("not run: more than the limit")
    );
    let (_, error) = ends(start(&place.arguments("limited", short)), 2);
    assert!(error.contains("hint: --resume --out "), "{error}");
    let (_, error) = ends(
        start(&[place.resume("limited"), vec!["--lr".to_owned(), "1".to_owned()]].concat()),
        2,
    );
    assert!(error.contains("began with other settings"), "{error}");
}
