//! A TOML file over the defaults.

use crate::{TrainConfig, TrainOverrides};

/// What is wrong with a config file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Keys that no setting has.
    #[error("unknown setting{}: {}", if names.len() == 1 { "" } else { "s" }, names.join("; "))]
    Unknown {
        /// Each with the nearest name that exists.
        names: Vec<String>,
    },
    /// TOML's own complaint, with line and column.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// Settings that no run can work with.
    #[error("{}", problems.join("; "))]
    Invalid {
        /// Each of them.
        problems: Vec<String>,
    },
}

impl TrainOverrides {
    /// Reads TOML; `-` and `_` are the same in its keys.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`] with every unknown key at once, [`ConfigError::Toml`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse()?;
        let unknown: Vec<String> = table
            .keys()
            .filter(|key| !Self::NAMES.contains(&key.replace('-', "_").as_str()))
            .map(|key| format!("`{key}` (did you mean `{}`?)", nearest(key)))
            .collect();
        if !unknown.is_empty() {
            return Err(ConfigError::Unknown { names: unknown });
        }
        if table.keys().all(|key| !key.contains('-')) {
            // From the text, so that a wrong value is shown where it stands.
            return Ok(toml::from_str(text)?);
        }
        let table: toml::Table = table
            .into_iter()
            .map(|(key, value)| (key.replace('-', "_"), value))
            .collect();
        Ok(table.try_into()?)
    }
}

impl TrainConfig {
    /// The defaults, with each layer of overrides written over what came before, checked.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn resolve(layers: impl IntoIterator<Item = TrainOverrides>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for layer in layers {
            layer.apply(&mut config);
        }
        let problems = config.problems();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid { problems })
        }
    }
}

fn nearest(key: &str) -> &'static str {
    let distance = |name: &&&str| (strsim::jaro_winkler(key, name) * -1e6) as i64;
    TrainOverrides::NAMES
        .iter()
        .min_by_key(distance)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use anylora_checkpoint::TargetModules;

    use super::*;
    use crate::Quant;

    #[test]
    fn later_layers_win_and_the_rest_stays() {
        let file =
            TrainOverrides::from_toml("rank = 8\nquant = \"none\"\ntarget_modules = [\"q_proj\"]").unwrap();
        let flags = TrainOverrides {
            rank: Some(4),
            ..TrainOverrides::default()
        };
        let config = TrainConfig::resolve([file, flags]).unwrap();
        assert_eq!((config.rank, config.quant, config.alpha), (4, Quant::None, 32.0));
        assert_eq!(
            config.target_modules,
            TargetModules::List(vec!["q_proj".to_owned()])
        );
    }

    #[test]
    fn modules_are_written_as_for_the_option() {
        let modules = |value: &str| {
            let text = format!("target_modules = {value}");
            TrainOverrides::from_toml(&text).unwrap().target_modules
        };
        assert_eq!(modules("\"q_proj, v_proj\""), modules("[\"q_proj\", \"v_proj\"]"));
        assert_eq!(modules("\"all-linear\""), Some(TargetModules::AllLinear));
        let error = TrainOverrides::from_toml("target_modules = 3").unwrap_err();
        assert!(
            error.to_string().contains("expected a list of module names"),
            "{error}"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let config = TrainConfig {
            model: Some("m".to_owned()),
            steps: Some(7),
            ..TrainConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        let read = TrainConfig::resolve([TrainOverrides::from_toml(&text).unwrap()]).unwrap();
        assert_eq!(read, config);
    }

    #[test]
    fn unknown_keys_are_told_with_the_nearest_name() {
        let error = TrainOverrides::from_toml("rnak = 8\nbatch-sizes = 2")
            .unwrap_err()
            .to_string();
        assert!(error.contains("`rnak` (did you mean `rank`?)"), "{error}");
        assert!(
            error.contains("`batch-sizes` (did you mean `batch_size`?)"),
            "{error}"
        );
        assert!(TrainOverrides::from_toml("batch-size = 2").unwrap().batch_size == Some(2));
    }

    #[test]
    fn a_wrong_value_names_its_line() {
        let error = TrainOverrides::from_toml("rank = 8\nlr = \"fast\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn every_impossible_setting_is_refused_by_its_name() {
        for (line, message) in [
            ("rank = 0", "rank should be from 1 to 1024, found 0"),
            ("rank = 1025", "rank should be from 1 to 1024, found 1025"),
            ("alpha = 0.0", "alpha should be above 0, found 0"),
            ("alpha = nan", "alpha should be above 0, found NaN"),
            ("dropout = 1.0", "dropout should be from 0 to below 1, found 1"),
            (
                "dropout = -0.1",
                "dropout should be from 0 to below 1, found -0.1",
            ),
            ("batch_size = 0", "batch_size should be at least 1"),
            ("grad_accum = 0", "grad_accum should be at least 1"),
            ("max_length = 1", "max_length should be at least 2"),
            ("steps = 0", "steps should be at least 1"),
            ("epochs = 0.0", "epochs should be above 0, found 0"),
            ("epochs = inf", "epochs should be above 0, found inf"),
            ("lr = 0.0", "lr should be above 0, found 0"),
            ("lr = inf", "lr should be above 0, found inf"),
            (
                "lora_plus_ratio = -1.0",
                "lora_plus_ratio should be above 0, found -1",
            ),
            ("eps = 0.0", "eps should be above 0, found 0"),
            ("beta1 = 1.0", "beta1 should be from 0 to below 1, found 1"),
            ("beta2 = -0.5", "beta2 should be from 0 to below 1, found -0.5"),
            (
                "weight_decay = -0.1",
                "weight_decay should be 0 or above, found -0.1",
            ),
            ("clip = nan", "clip should be 0 or above, found NaN"),
            ("eval_every = 5", "eval_every needs eval_data"),
            ("patience = 2", "patience needs eval_data"),
            ("layers = \"4\"", "layers should be a range like 0..12, found '4'"),
            (
                "layers = \"3..3\"",
                "layers should be a range like 0..12, found '3..3'",
            ),
            ("batch_size = -1", "line 1"),
            ("quant = \"int8\"", "expected `nf4` or `none`"),
            ("dtype = \"f64\"", "expected one of `f32`, `f16`, `bf16`"),
            (
                "schedule = \"step\"",
                "expected one of `constant`, `linear`, `cosine`",
            ),
            ("train_on = \"prompt\"", "expected `completion` or `all`"),
            ("template_time = \"noon\"", "line 1"),
        ] {
            let read = TrainOverrides::from_toml(line);
            let error = read
                .and_then(|file| TrainConfig::resolve([file]))
                .expect_err(line)
                .to_string();
            assert!(error.contains(message), "{line}: {error}");
        }
        // With held-out data both may be there.
        let file = "eval_data = \"test.jsonl\"\neval_every = 5\npatience = 2";
        TrainConfig::resolve([TrainOverrides::from_toml(file).unwrap()]).unwrap();
    }

    #[test]
    fn all_impossible_settings_are_told_at_once() {
        let flags = TrainOverrides {
            rank: Some(0),
            dropout: Some(1.0),
            layers: Some("5..2".to_owned()),
            ..TrainOverrides::default()
        };
        let error = TrainConfig::resolve([flags]).unwrap_err().to_string();
        for part in ["rank", "dropout", "layers"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
