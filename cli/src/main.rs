//! The `anylora` command: arguments, printing and exit codes. What is computed, the library crates compute.
//!
//! - `commands/` has one file a command: its arguments and what it prints.
//! - `engine.rs` opens the device that `--device` means and hands it to a [`engine::Job`].
//! - `error.rs` tells a wrong request (exit code 2) from a failed run (1) and prints both.
//! - `model.rs`, `hub.rs` and `cache.rs` find and load what `--model` means; `generation.rs` streams text.
//! - `packs.rs` makes and finds what the browser loads, `server/` serves it.
//! - `output.rs` writes data to stdout, and ends quietly where nobody reads it any more (`anylora ... | head`).

mod cache;
mod commands;
mod cuda;
mod engine;
mod error;
mod generation;
mod hub;
mod model;
mod output;
mod packs;
mod server;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use tracing_subscriber::EnvFilter;

/// Fine-tune LLMs with LoRA and QLoRA on any GPU.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Data goes to stdout, progress and messages to stderr.\n\
                  Exit codes: 0 done, 1 the run failed, 2 the request was wrong.\n\n\
                  Example, to see which GPUs are here and that their kernels compute the right numbers:\n  \
                  anylora devices --self-test"
)]
struct Cli {
    /// Log what happens to stderr; twice for details. `RUST_LOG` filters by module
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let matches = commands::described(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start_log(cli.verbose);
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            error::report(&error);
            ExitCode::from(error::exit_code(&error))
        }
    }
}

/// Without `--verbose` and `RUST_LOG` nothing is logged: what goes wrong is an error, and is printed as one.
fn start_log(verbose: u8) {
    let level = ["off", "info", "debug"][usize::from(verbose.min(2))];
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if verbose == 0 => EnvFilter::new(filter),
        _ => EnvFilter::new(level),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
