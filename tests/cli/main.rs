//! The real `anylora` binary: what it prints, and its exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod adapters;
mod answers;
mod check_data;
mod compare;
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod cuda;
mod devices;
mod evaluate;
mod generate;
mod hub;
mod pack;
mod plan;
mod train;
mod web;

use assert_cmd::Command;

/// `anylora` with an environment that chooses no device.
fn anylora(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anylora"));
    command
        .args(arguments)
        .env_remove("ANYLORA_DEVICE")
        .env_remove("RUST_LOG");
    command
}

/// What a command wrote to stdout and to stderr, which ended with this code.
fn run(arguments: &[&str], code: i32) -> (String, String) {
    let output = anylora(arguments).assert().code(code).get_output().clone();
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn help_teaches_with_an_example() {
    let (help, _) = run(&["--help"], 0);
    assert!(help.contains("anylora devices --self-test"), "{help}");
    assert!(help.contains("Exit codes"), "{help}");
    let (help, _) = run(&["devices", "--help"], 0);
    assert!(
        help.contains("anylora devices --self-test --device software"),
        "{help}"
    );
}

#[test]
fn an_unknown_command_is_a_wrong_request() {
    let (stdout, stderr) = run(&["tarin"], 2);
    assert!(stdout.is_empty() && stderr.contains("tarin"), "{stderr}");
}
