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

use stand_in::{Driver, Nvrtc, StandIn};

/// What opening says in a process that has this, which must not have panicked.
fn open(stand_in: &StandIn, settings: &[(&str, &str)]) -> String {
    stand_in.run("open", settings)
}

#[test]
fn a_gpu_is_opened_and_every_operation_launched() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    let text = open(&stand_in, &[]);
    assert!(text.contains("opened Stand-in 0, CUDA 12.4"), "{text}");
    let text = stand_in.run("launch", &[]);
    assert!(text.contains("launched everything"), "{text}");
    assert!(!text.contains("not given back"), "{text}");
}

#[test]
fn values_are_copied_before_anybody_changes_them() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    // Where the GPU reads the host's pages, it does so when it comes to them.
    for reads in ["0", "1"] {
        let text = stand_in.run("copy", &[("STAND_IN_READS_HOST", reads)]);
        assert!(text.contains("copied"), "{text}");
        assert!(!text.contains("not given back"), "{text}");
    }
}

#[test]
fn an_allocation_that_the_pool_has_in_pieces_is_made_and_one_that_is_too_large_is_an_error() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    let text = stand_in.run(
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
    let names = stand_in::functions();
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
fn a_lost_device_is_the_error_of_a_later_call() {
    let stand_in = StandIn::new(Driver::Whole, &[Nvrtc::Version(12)]);
    for setting in ["STAND_IN_LAUNCH", "STAND_IN_WAIT"] {
        let text = stand_in.run("lose", &[(setting, "700")]);
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
