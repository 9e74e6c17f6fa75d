//! `anylora train --help`: settings in groups, each with its default, which [`TrainConfig::default`] alone says.

use anylora_train::TrainConfig;
use clap::builder::StyledStr;

/// Headings, and the settings below them.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Run",
        &[
            "config",
            "resume",
            "out",
            "device",
            "memory_limit",
            "force",
            "dry_run",
            "seed",
            "save_every",
            "eval_every",
            "patience",
            "tensorboard",
        ],
    ),
    ("Model", &["model", "quant", "double_quant", "dtype"]),
    (
        "Data",
        &[
            "data",
            "eval_data",
            "format",
            "template_time",
            "max_length",
            "packing",
            "shuffle",
            "train_on",
        ],
    ),
    (
        "Adapter",
        &[
            "rank",
            "alpha",
            "dropout",
            "rslora",
            "target_modules",
            "layers",
            "adapter_init",
        ],
    ),
    (
        "Steps",
        &["steps", "epochs", "batch_size", "grad_accum", "recompute", "clip"],
    ),
    (
        "Optimizer",
        &[
            "lr",
            "lora_plus_ratio",
            "schedule",
            "warmup_steps",
            "weight_decay",
            "beta1",
            "beta2",
            "eps",
        ],
    ),
];

/// The command with groups and defaults.
pub fn described(command: clap::Command) -> clap::Command {
    let defaults = defaults();
    command.mut_args(|argument| {
        let id = argument.get_id().as_str();
        let group = GROUPS.iter().find(|(_, settings)| settings.contains(&id));
        let default = defaults.iter().find(|(name, _)| name == id);
        let help = argument.get_help().map(StyledStr::to_string);
        let argument = match (default, help) {
            (Some((_, default)), Some(help)) => argument.help(format!("{help} [default: {default}]")),
            _ => argument,
        };
        match group {
            Some((heading, _)) => argument.help_heading(*heading),
            None => argument,
        }
    })
}

/// Each setting's default, as it is typed.
fn defaults() -> Vec<(String, String)> {
    // The text and not the table: it has an f32's shortest digits.
    let text = toml::to_string(&TrainConfig::default()).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use anylora_train::TrainOverrides;

    use super::*;

    #[test]
    fn every_setting_is_in_one_group() {
        for name in TrainOverrides::NAMES {
            let groups = GROUPS.iter().filter(|(_, settings)| settings.contains(name));
            assert_eq!(groups.count(), 1, "{name}");
        }
    }

    #[test]
    fn every_setting_that_is_no_option_has_a_default() {
        let defaults = defaults();
        let of = |name: &str| defaults.iter().find(|(other, _)| other == name);
        assert_eq!(of("lr").map(|(_, value)| value.as_str()), Some("0.0002"));
        assert_eq!(
            of("target_modules").map(|(_, value)| value.as_str()),
            Some("all-linear")
        );
        assert!(of("steps").is_none());
    }
}
