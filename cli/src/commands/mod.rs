//! One file a command: its arguments (whose docs are its `--help`), and what it prints.

mod answering;
mod chat;
mod check_data;
mod compare;
mod devices;
mod evaluate;
mod export;
mod fetch;
mod generate;
mod inspect;
mod merge;
mod pack;
mod plan;
mod train;
mod web;

use anyhow::Result;
use clap::Subcommand;

/// The program's command line, with what only running it can tell: the defaults of settings.
pub fn described(command: clap::Command) -> clap::Command {
    command
        .mut_subcommand("train", train::described)
        .mut_subcommand("compare", compare::described)
}

/// What `anylora` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    Devices(devices::Devices),
    Inspect(inspect::Inspect),
    Fetch(fetch::Fetch),
    CheckData(check_data::CheckData),
    Generate(generate::Generate),
    Chat(chat::Chat),
    Train(Box<train::Train>),
    Evaluate(Box<evaluate::Evaluate>),
    Plan(Box<plan::Plan>),
    Compare(Box<compare::Compare>),
    Merge(merge::Merge),
    Export(export::Export),
    Pack(pack::Pack),
    Web(web::Web),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Devices(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Fetch(command) => command.run(),
            Self::CheckData(command) => command.run(),
            Self::Generate(command) => command.run(),
            Self::Chat(command) => command.run(),
            Self::Train(command) => command.run(),
            Self::Evaluate(command) => command.run(),
            Self::Plan(command) => command.run(),
            Self::Compare(command) => command.run(),
            Self::Merge(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Pack(command) => command.run(),
            Self::Web(command) => command.run(),
        }
    }
}
