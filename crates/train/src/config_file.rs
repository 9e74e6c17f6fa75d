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
    #[error("{0}")]
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
    use super::*;
    use crate::{Quant, TargetModules};

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
