//! `#if` expressions: `NAME == value`, `NAME != value`, joined by `&&` and `||` (`&&` binds tighter).

/// A disjunction of conjunctions of comparisons.
#[derive(Debug, PartialEq)]
pub struct Condition(Vec<Vec<Comparison>>);

#[derive(Debug, PartialEq)]
struct Comparison {
    name: String,
    equal: bool,
    value: String,
}

impl Condition {
    /// The error is a message without a place; the caller knows the file and line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let alternatives = text
            .split("||")
            .map(|part| part.split("&&").map(comparison).collect());
        alternatives.collect::<Result<_, _>>().map(Self)
    }

    /// Looks up every name, even where the result is known before: an undefined one is a typing
    /// error in any variant, not only in the one that happens to reach it.
    pub fn evaluate<'a>(&self, define: impl Fn(&str) -> Option<&'a str>) -> Result<bool, Error> {
        let mut any = false;
        for alternative in &self.0 {
            let mut all = true;
            for Comparison { name, equal, value } in alternative {
                let found = define(name).ok_or_else(|| Error::Undefined(name.clone()))?;
                all &= (found == value) == *equal;
            }
            any |= all;
        }
        Ok(any)
    }
}

fn comparison(text: &str) -> Result<Comparison, Error> {
    let (equal, sides) = match text.split_once("==") {
        Some(sides) => (true, Some(sides)),
        None => (false, text.split_once("!=")),
    };
    let word = |side: &str| Some(side.trim().to_owned()).filter(|side| is_word(side));
    let parsed = sides.and_then(|(name, value)| Some((word(name)?, word(value)?)));
    let (name, value) = parsed.ok_or_else(|| Error::Syntax(text.trim().to_owned()))?;
    Ok(Comparison { name, equal, value })
}

/// Names and values: `[A-Za-z0-9_]+`.
pub fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Why a condition has no value.
#[derive(Debug, PartialEq)]
pub enum Error {
    Syntax(String),
    Undefined(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax(found) => write!(f, "expected `NAME == value` or `NAME != value`, found `{found}`"),
            Self::Undefined(name) => write!(f, "`{name}` is not defined in this variant"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str) -> Result<bool, Error> {
        let define = |name: &str| match name {
            "A" => Some("f16"),
            "B" => Some("2"),
            _ => None,
        };
        Condition::parse(text)?.evaluate(define)
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert_eq!(evaluate("A == f16"), Ok(true));
        assert_eq!(evaluate("A!=f16"), Ok(false));
        assert_eq!(evaluate("A == f16 || A == f32 && B == 3"), Ok(true));
        assert_eq!(evaluate("A == f32 && B == 3 || A == f16"), Ok(true));
        assert_eq!(evaluate("A == f32 && B == 2"), Ok(false));
    }

    #[test]
    fn mistakes_are_errors() {
        assert_eq!(evaluate("A == f16 || C == 1"), Err(Error::Undefined("C".into())));
        for text in [
            "",
            "A",
            "A = f16",
            "A == f16 &&",
            "A == (f16)",
            "A == B == 2",
            "A === f16",
            "!A",
        ] {
            assert!(matches!(evaluate(text), Err(Error::Syntax(_))), "{text}");
        }
    }
}
