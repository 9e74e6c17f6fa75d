//! `--device cuda` in a build that has it, where stand-ins take the place of NVIDIA's libraries: what isn't there is a
//! wrong request with a hint, and `auto` goes on to the next engine.

#[allow(dead_code, reason = "the engine's own tests use all of it")]
#[path = "../../crates/engine-cuda/tests/driver/stand_in.rs"]
mod stand_in;

use stand_in::{Driver, Nvrtc, StandIn};

use crate::anylora;

/// Exit code and stderr of `anylora` with these libraries.
fn run(stand_in: &StandIn, arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = anylora(arguments)
        .env_remove("CUDA_VISIBLE_DEVICES")
        .env("LD_LIBRARY_PATH", stand_in.folder())
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code(), stderr)
}

/// `--device DEVICE` says this, and `auto` takes another engine.
fn is_refused(stand_in: &StandIn, device: &str, settings: &[(&str, &str)], expected: &[&str]) {
    let (code, stderr) = run(
        stand_in,
        &["devices", "--self-test", "--device", device],
        settings,
    );
    assert_eq!(code, Some(2), "{stderr}");
    for text in expected {
        assert!(stderr.contains(text), "{text}: {stderr}");
    }
    if device == "cuda" {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny/tiny-llama");
        let arguments = ["generate", "--model", model, "--prompt", "a", "--max-tokens", "1"];
        let (code, stderr) = run(
            stand_in,
            &[&arguments[..], &["--device", "auto"]].concat(),
            settings,
        );
        assert_eq!(code, Some(0), "{stderr}");
    }
}

#[test]
fn what_is_missing_is_a_wrong_request_and_auto_goes_on() {
    let whole = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    is_refused(
        &whole,
        "cuda:7",
        &[],
        &["cuda:7 is not here, CUDA counts 1", "`anylora devices`"],
    );
    is_refused(
        &whole,
        "cuda",
        &[("CUDA_VISIBLE_DEVICES", "7")],
        &["sees no GPU", "`unset CUDA_VISIBLE_DEVICES`"],
    );
    for (setting, value, expected) in [
        ("STAND_IN_COUNT", "0", ["sees no GPU", "`nvidia-smi`"]),
        ("STAND_IN_VERSION", "11040", ["too old", "update the driver"]),
        (
            "STAND_IN_MAJOR",
            "7",
            ["compute capability 7.0", "`--device vulkan`"],
        ),
    ] {
        is_refused(&whole, "cuda", &[(setting, value)], &expected);
    }
    let driver = Driver::Without("cuMemPoolCreate".to_owned());
    let without = StandIn::new(driver, &[Nvrtc::Version(12)]);
    is_refused(
        &without,
        "cuda",
        &[],
        &["has no cuMemPoolCreate", "`--device auto`"],
    );
    let uncompiled = StandIn::new(Driver::Whole, &[Nvrtc::Missing("nvrtcGetCUBIN")]);
    is_refused(
        &uncompiled,
        "cuda",
        &[],
        &["NVRTC", "`pip install nvidia-cuda-nvrtc-cu12`"],
    );
}
