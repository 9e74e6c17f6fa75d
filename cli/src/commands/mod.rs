//! One file a command: its arguments (whose docs are its `--help`), and what it prints.

mod devices;

use anyhow::Result;
use clap::Subcommand;

/// What `anylora` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    Devices(devices::Devices),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Devices(command) => command.run(),
        }
    }
}
