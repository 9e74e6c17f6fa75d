//! The engine on NVIDIA's driver, of which a stand-in takes the place: what isn't there or doesn't work is a typed error,
//! and what the driver is asked for is what a driver takes. No kernel is run here; `tests/kernels` does that.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod child;
mod stand_in;

use std::path::Path;
use std::process::Command;

use stand_in::{Driver, LIBCUDA, Nvrtc, StandIn};

/// Runs the test `child` in a process that finds these libraries, which must not panic, and gives back what it printed.
fn run(stand_in: &StandIn, what: &str, settings: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::child", "--ignored", "--nocapture"])
        .env_clear()
        .env("LD_LIBRARY_PATH", stand_in.folder())
        .env("ANYLORA_CHILD", what)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let text = text.concat();
    assert!(
        output.status.success(),
        "{what}, {settings:?}: {}\n{text}",
        output.status
    );
    assert!(text.contains("1 passed"), "{text}");
    text
}

/// What opening says.
fn open(stand_in: &StandIn, settings: &[(&str, &str)]) -> String {
    run(stand_in, "open", settings)
}

#[test]
fn a_gpu_is_opened_and_every_operation_launched() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    let text = open(&stand_in, &[]);
    assert!(text.contains("opened Stand-in 0, CUDA 12.4"), "{text}");
    let text = run(&stand_in, "launch", &[]);
    assert!(text.contains("launched everything"), "{text}");
    assert!(!text.contains("not given back"), "{text}");
    let text = open(&StandIn::new(Driver::Numbered, &[Nvrtc::Version(12)]), &[]);
    assert!(text.contains("opened "), "{text}");
}

#[test]
fn values_are_copied_before_anybody_changes_them() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    // Where the GPU reads the host's pages, it does so when it comes to them.
    for reads in ["0", "1"] {
        let text = run(&stand_in, "copy", &[("STAND_IN_READS_HOST", reads)]);
        assert!(text.contains("copied"), "{text}");
        assert!(!text.contains("not given back"), "{text}");
    }
}

#[test]
fn an_allocation_that_the_pool_has_in_pieces_is_made_and_one_that_is_too_large_is_an_error() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    let text = run(
        &stand_in,
        "allocate",
        &[("STAND_IN_PIECES", "1"), ("STAND_IN_MEMORY", "8388608")],
    );
    assert!(text.contains("has 2097152 bytes"), "{text}");
    assert!(text.contains("out of device memory"), "{text}");
    assert!(!text.contains("not given back"), "{text}");
}

#[test]
fn every_function_that_the_engine_calls_is_looked_for_first() {
    // The stand-in has those and no more: `a_gpu_is_opened_and_every_operation_launched` and its neighbours call
    // each of them.
    let names = LIBCUDA.lines().filter_map(|line| line.strip_prefix("Result cu"));
    let names = names.filter_map(|rest| rest.split_once('('));
    let names: Vec<String> = names.map(|(name, _)| format!("cu{name}")).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        let text = open(
            &StandIn::new(Driver::Without(name.clone()), &[Nvrtc::Version(12)]),
            &[],
        );
        let expected = format!("error: the NVIDIA driver can't be used: its library has no {name}");
        assert!(text.contains(&expected), "{name}: {text}");
    }
}

#[test]
fn a_driver_without_a_gpu_says_so() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    // No device; forward compatibility, a system not yet initialized; not permitted.
    for code in ["100", "804", "802", "800", "999"] {
        let text = open(&stand_in, &[("STAND_IN_INIT", code)]);
        let expected = format!("error: the NVIDIA driver sees no GPU (CODE_{code}");
        assert!(text.contains(&expected), "{text}");
    }
    let text = open(&stand_in, &[("STAND_IN_COUNT", "0")]);
    assert!(
        text.contains("error: the NVIDIA driver sees no GPU (it counts 0)"),
        "{text}"
    );
    // The library of the toolkit, which programs are linked with, says this to every call.
    let text = open(&stand_in, &[("STAND_IN_VERSION_CODE", "34")]);
    assert!(
        text.contains("error: the NVIDIA driver can't be used: cuDriverGetVersion"),
        "{text}"
    );
}

#[test]
fn a_number_that_no_gpu_has_says_how_many_there_are() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    let text = open(&stand_in, &[("ANYLORA_CHILD_GPU", "7")]);
    let expected = "error: cuda:7 is not here, CUDA counts 1 from cuda:0 on; `anylora devices` lists them";
    assert!(text.contains(expected), "{text}");
    let text = open(&stand_in, &[("ANYLORA_CHILD_GPU", "0")]);
    assert!(text.contains("opened Stand-in 0"), "{text}");
    // Two are here, of which the second is shown.
    let settings = [
        ("STAND_IN_COUNT", "2"),
        ("CUDA_VISIBLE_DEVICES", "1"),
        ("ANYLORA_CHILD_GPU", "1"),
    ];
    let text = open(&stand_in, &settings);
    let expected = "error: cuda:1 is not here, CUDA counts 1 from cuda:0 on; CUDA_VISIBLE_DEVICES is \"1\"";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn gpus_that_the_environment_hides_are_looked_for_there() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    for visible in ["7", "", "-1", "GPU-that-is-not-here", "NoDevFiles"] {
        let text = open(&stand_in, &[("CUDA_VISIBLE_DEVICES", visible)]);
        let expected = format!(
            "error: the NVIDIA driver sees no GPU (CODE_100: as the stand-in says); CUDA_VISIBLE_DEVICES is \
             \"{visible}\" and hides all others: `unset CUDA_VISIBLE_DEVICES`"
        );
        assert!(text.contains(&expected), "{text}");
    }
    let text = open(&stand_in, &[("CUDA_VISIBLE_DEVICES", "0,7")]);
    assert!(text.contains("opened Stand-in 0"), "{text}");
}

#[test]
fn an_old_driver_or_gpu_is_named() {
    let stand_in = StandIn::new(
        Driver::Without("cuMemPoolTrimTo".to_owned()),
        &[Nvrtc::Version(12)],
    );
    let text = open(&stand_in, &[("STAND_IN_VERSION", "11040")]);
    assert!(
        text.contains("error: the NVIDIA driver is too old: it has CUDA 11.4"),
        "{text}"
    );
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    let text = open(&stand_in, &[("STAND_IN_MAJOR", "7")]);
    assert!(
        text.contains("error: Stand-in 0 has compute capability 7.0"),
        "{text}"
    );
    // The first of these two is old.
    let text = open(&stand_in, &[("STAND_IN_COUNT", "2")]);
    assert!(text.contains("opened Stand-in 1"), "{text}");
    let text = open(&stand_in, &[("STAND_IN_COUNT", "2"), ("STAND_IN_MAJOR", "7")]);
    assert!(
        text.contains("error: Stand-in 0 has compute capability 7.0"),
        "{text}"
    );
}

#[test]
fn what_the_driver_refuses_is_given_back() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    let text = open(&stand_in, &[("STAND_IN_POOL", "801")]);
    assert!(
        text.contains("error: Stand-in 0 could not be opened: CODE_801"),
        "{text}"
    );
    assert!(!text.contains("not given back"), "{text}");
}

#[test]
fn what_is_copied_outlives_the_copy_where_nothing_tells_its_end() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    for (reads, refused) in [("0", 1), ("1", 2)] {
        let text = run(
            &stand_in,
            "refuse",
            &[("STAND_IN_READS_HOST", reads), ("STAND_IN_EVENT", "2")],
        );
        assert_eq!(text.matches("refused: CODE_2").count(), refused, "{text}");
        assert!(!text.contains("freed before"), "{text}");
        assert!(!text.contains("not given back"), "{text}");
    }
}

#[test]
fn a_lost_device_is_the_error_of_a_later_call() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    for setting in ["STAND_IN_LAUNCH", "STAND_IN_WAIT"] {
        let text = run(&stand_in, "lose", &[(setting, "700")]);
        assert!(text.contains("lost: CODE_700"), "{text}");
    }
}

#[test]
fn without_a_compiler_that_works_nothing_is_opened() {
    let text = open(
        &StandIn::new(Driver::Whole, &[Nvrtc::Missing("nvrtcGetCUBIN")]),
        &[],
    );
    assert!(
        text.contains("error: NVRTC, CUDA's run-time compiler, can't be used"),
        "{text}"
    );
    assert!(text.contains("nvrtcGetCUBIN"), "{text}");
    // NVRTC's answer where its builtins are not beside it.
    let text = open(
        &StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]),
        &[("NVRTC_BROKEN", "7")],
    );
    assert!(text.contains("nvrtcCompileProgram gave 7"), "{text}");
    // A toolkit of this machine would be found.
    let text = open(&StandIn::new(Driver::Whole, &[]), &[]);
    if !Path::new("/usr/local/cuda").exists() {
        assert!(
            text.contains("can't be used: none of libnvrtc.so, libnvrtc.so.13, libnvrtc.so.12"),
            "{text}"
        );
        assert!(text.contains("`pip install nvidia-cuda-nvrtc-cu12`"), "{text}");
    }
    let text = open(&StandIn::new(Driver::Whole, &[Nvrtc::Version(10)]), &[]);
    assert!(
        text.contains("is version 10.4, 11.4 or later is needed"),
        "{text}"
    );
}

#[test]
fn a_compiler_that_is_newer_than_the_driver_is_passed_over() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(13), Nvrtc::Version(12)]);
    let text = open(&stand_in, &[("STAND_IN_READS", "12")]);
    assert!(text.contains("opened Stand-in 0"), "{text}");
    assert!(!text.contains("not given back"), "{text}");
    let text = open(&stand_in, &[("STAND_IN_READS", "11")]);
    assert!(text.contains("CODE_200"), "{text}");
    assert!(!text.contains("not given back"), "{text}");
}
