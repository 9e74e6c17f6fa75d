//! One file a command: its arguments (whose docs are its `--help`), and what it prints.

mod chat;
mod devices;
mod generate;
mod train;

use anyhow::Result;
use clap::Subcommand;

/// What `anylora` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    Devices(devices::Devices),
    Generate(generate::Generate),
    Chat(chat::Chat),
    Train(Box<train::Train>),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Devices(command) => command.run(),
            Self::Generate(command) => command.run(),
            Self::Chat(command) => command.run(),
            Self::Train(command) => command.run(),
        }
    }
}
