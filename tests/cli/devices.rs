//! `anylora devices`.

use std::process::Stdio;

use serde_json::Value;

use crate::{anylora, run};

fn json(arguments: &[&str], code: i32) -> Value {
    let (stdout, _) = run(arguments, code);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

#[test]
fn json_lists_the_cpu_engine_and_marks_one_device() {
    let report = json(&["devices", "--json"], 0);
    let devices = report["devices"].as_array().unwrap();
    let marked = devices.iter().filter(|device| device["auto"] == true);
    assert_eq!(marked.count(), 1, "{report:#}");
    let cpu = devices
        .iter()
        .find(|device| device["device"] == "cpu")
        .expect("the CPU engine");
    assert_eq!(cpu["engine"], "burn");
    for device in devices {
        assert!(
            device["name"].as_str().is_some_and(|name| !name.is_empty()),
            "{device:#}"
        );
        if device["kind"] == "software adapter" {
            assert_eq!(device["auto"], false, "{device:#}");
        }
        if device["engine"] == "wgpu" {
            assert!(
                device["tier"]["name"].as_str().unwrap().starts_with("baseline"),
                "{device:#}"
            );
            assert!(
                device["limits"]["max_binding_bytes"].as_u64().unwrap() >= 128 << 20,
                "{device:#}"
            );
        }
    }
    assert_eq!(report.get("self_test"), None);
}

#[test]
fn the_text_names_every_device() {
    let (text, _) = run(&["devices"], 0);
    let report = json(&["devices", "--json"], 0);
    for device in report["devices"].as_array().unwrap() {
        assert!(text.contains(device["device"].as_str().unwrap()), "{text}");
        assert!(text.contains(device["name"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn an_unknown_device_is_refused_with_the_list() {
    let (stdout, stderr) = run(&["devices", "--device", "gpu"], 2);
    assert!(stdout.is_empty(), "{stdout}");
    assert!(
        stderr.contains("auto, cpu, software, vulkan[:N], metal[:N], dx12[:N] or cuda[:N]"),
        "{stderr}"
    );
    let refused = anylora(&["devices"])
        .env("ANYLORA_DEVICE", "gpu")
        .assert()
        .code(2);
    let stderr = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(stderr.contains("vulkan[:N]"), "{stderr}");
}

#[test]
fn a_device_that_is_not_here_is_a_wrong_request() {
    let missing = if cfg!(target_vendor = "apple") {
        "dx12"
    } else {
        "metal"
    };
    let (_, stderr) = run(&["devices", "--self-test", "--device", missing], 2);
    assert!(
        stderr.contains(&format!("no {missing} adapter is here")),
        "{stderr}"
    );
    let (_, stderr) = run(&["devices", "--self-test", "--device", "vulkan:99"], 2);
    assert!(stderr.contains("vulkan"), "{stderr}");
}

/// Where no NVIDIA GPU is, or the build has no CUDA: an error with a hint, no panic of a loader.
#[test]
fn cuda_that_is_not_here_is_a_wrong_request() {
    let output = anylora(&["devices", "--self-test", "--device", "cuda:99"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("CUDA") || stderr.contains("NVIDIA"), "{stderr}");
    assert!(
        stderr.contains("--device") || stderr.contains("anylora devices"),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn the_cpu_engine_passes_the_self_test() {
    let report = json(&["devices", "--self-test", "--device", "cpu", "--json"], 0);
    let tested = report["self_test"].as_array().unwrap();
    assert_eq!(tested.len(), 1);
    assert_eq!(
        (&tested[0]["device"], &tested[0]["passed"]),
        (&"cpu".into(), &true.into())
    );
    let cases = tested[0]["cases"].as_array().unwrap();
    for op in ["linear", "lora_linear", "attention", "head_loss", "adamw"] {
        let mut of_op = cases.iter().filter(|case| case["op"] == op).peekable();
        assert!(of_op.peek().is_some(), "{op}");
        assert!(
            of_op.all(|case| case["outputs"][0]["error"].as_f64().is_some()),
            "{op}"
        );
    }
}

/// Where `scripts/setup` installs a software adapter.
#[cfg(target_os = "linux")]
#[test]
fn every_kernel_passes_the_self_test_on_the_software_adapter() {
    let report = json(&["devices", "--self-test", "--device", "software", "--json"], 0);
    let tested = &report["self_test"][0];
    assert_eq!(tested["passed"], true);
    let cases = tested["cases"].as_array().unwrap();
    assert!(cases.len() > 100, "{}", cases.len());
    // The kernels round in another order than the CPU engine: a comparison that finds nothing compares nothing.
    let errors = cases.iter().flat_map(|case| case["outputs"].as_array().unwrap());
    assert!(
        errors
            .filter(|output| output["error"].as_f64() > Some(0.0))
            .count()
            > 100
    );
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_anylora"))
        .args(["devices", "--json"])
        .env_remove("ANYLORA_DEVICE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads: the pipe breaks at the first write.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    assert!(
        !stderr.contains("panicked") && !stderr.contains("stdout"),
        "{stderr}"
    );
}
