//! What can be wrong with a model or adapter file.

use std::fmt;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The system refused to open, read, map or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Content that breaks its format, or parts that contradict each other: every such place, not only the first.
    #[error("{0}")]
    Malformed(Problems),
    /// Well-formed content that this program cannot use: every such place.
    #[error("not supported: {problems}")]
    Unsupported {
        /// The places.
        problems: Problems,
        /// What to do instead.
        hint: String,
    },
    /// A path that holds no model or adapter.
    #[error("{}: expected {expected}, found {found}", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        expected: String,
        /// What is there.
        found: String,
        /// What to do.
        hint: String,
    },
    /// No tensor has this name.
    #[error("tensor `{name}`: expected it in the checkpoint, found no such name{}", near(.nearest))]
    NoTensor {
        /// The name asked for.
        name: String,
        /// The name that is most like it.
        nearest: Option<String>,
    },
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, CheckpointError>;

fn near(name: &Option<String>) -> String {
    name.as_ref()
        .map_or(String::new(), |name| format!(" (the nearest is `{name}`)"))
}

impl CheckpointError {
    /// One line that says what to do, with something to type where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { path, .. } => Some(format!("ls -l {}", path.display())),
            Self::Malformed(problems) => {
                let file = &problems.0.first()?.file;
                Some(format!(
                    "{file} is damaged or incomplete; fetch it again, for example with `hf download OWNER/NAME --local-dir FOLDER`"
                ))
            }
            Self::Unsupported { hint, .. } | Self::NotFound { hint, .. } => Some(hint.clone()),
            Self::NoTensor { .. } => Some("`anylora inspect PATH` lists what the checkpoint holds".into()),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// A single malformed place.
    pub(crate) fn malformed(
        file: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Malformed(Problems(vec![Problem::new(file, place, expected, found)]))
    }

    /// A text that is not JSON.
    pub(crate) fn json(file: &str, error: &serde_json::Error) -> Self {
        let place = format!("line {}, column {}", error.line(), error.column());
        let message = error.to_string();
        // The place is said already.
        let message = message.split(" at line ").next().unwrap_or_default();
        Self::malformed(file, place, "JSON", message)
    }
}

/// One bad place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name.
    pub file: String,
    /// The tensor, field or position in it.
    pub place: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Problem {
    pub(crate) fn new(
        file: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            place,
            expected,
            found,
        } = self;
        write!(f, "{file}: {place}: expected {expected}, found {found}")
    }
}

/// All bad places of one kind, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Fails if there is a problem.
    pub(crate) fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CheckpointError::Malformed(self))
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [problem] => problem.fmt(f),
            problems => {
                write!(f, "{} problems", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
