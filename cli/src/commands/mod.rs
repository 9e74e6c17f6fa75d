//! One file a command: its arguments (whose docs are its `--help`), and what it prints.

mod check_data;
mod devices;

use anyhow::Result;
use clap::Subcommand;

/// What `anylora` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    CheckData(check_data::CheckData),
    Devices(devices::Devices),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Self::CheckData(command) => command.run(),
            Self::Devices(command) => command.run(),
        }
    }
}
