//! Sizes as they are typed: `12GiB`, `80GB`, `512MiB`.

use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// What is no size.
#[derive(Debug, thiserror::Error)]
#[error("expected a size such as 12GiB, 80GB or 512MiB, found {0:?}")]
pub struct NotASize(String);

impl FromStr for Size {
    type Err = NotASize;

    /// A number with a unit: KiB, MiB, GiB and TiB count in 1024, KB, MB, GB and TB in 1000, a lone K, M, G or T means
    /// the former, as cards are sold. Without a unit it is bytes.
    fn from_str(text: &str) -> Result<Self, NotASize> {
        let wrong = || NotASize(text.to_owned());
        let unit_at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_ascii_lowercase();
        let (prefix, base) = match unit.strip_suffix("ib") {
            Some(prefix) => (prefix, 1024_f64),
            None => match unit.strip_suffix('b') {
                Some(prefix) => (prefix, 1000.0),
                None => (unit.as_str(), 1024.0),
            },
        };
        let power = match prefix {
            "" if unit.ends_with("ib") => return Err(wrong()),
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            _ => return Err(wrong()),
        };
        let bytes = number * base.powi(power);
        if bytes.is_finite() && bytes < 1e18 {
            Ok(Self(bytes as u64))
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_apart() {
        for (text, bytes) in [
            ("12GiB", 12 << 30),
            ("12G", 12 << 30),
            ("12 gib", 12 << 30),
            ("0.5MiB", 1 << 19),
            ("80GB", 80_000_000_000),
            ("100", 100),
            ("100b", 100),
        ] {
            assert_eq!(text.parse::<Size>().unwrap(), Size(bytes), "{text}");
        }
        for text in [
            "",
            "GiB",
            "12iB",
            "12XB",
            "-1GiB",
            "1e9GiB",
            "9999999TiB",
            "1.2.3G",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
