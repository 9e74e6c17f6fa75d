//! What is wrong in a shader, with the file and line that its author wrote.

use std::fmt;

/// One mistake. The same mistake in many variants is one problem that names them all.
#[derive(Debug)]
pub struct Problem {
    /// Path as the reader knows it, such as `shaders/shared/reduce.wgsl`.
    pub path: String,
    pub line: Option<u32>,
    pub message: String,
    /// naga's own drawing of the source span, where there is one; of the expanded text.
    pub detail: String,
    /// Labels of the variants that have it; empty where the mistake is in no variant.
    pub variants: Vec<String>,
}

impl Problem {
    pub fn new(path: impl Into<String>, line: Option<u32>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        Self {
            path,
            line,
            message,
            detail: String::new(),
            variants: Vec::new(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => writeln!(f, "error: {}:{line}: {}", self.path, self.message)?,
            None => writeln!(f, "error: {}: {}", self.path, self.message)?,
        }
        for variant in &self.variants {
            writeln!(f, "  in {variant}")?;
        }
        if !self.detail.is_empty() {
            writeln!(f, "  expanded text of the first:")?;
            for line in self.detail.trim_end().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong in one run.
#[derive(Debug, Default)]
pub struct Report(pub Vec<Problem>);

impl Report {
    /// Adds a problem of the variant `label`, or its label to the same problem found before.
    pub fn add(&mut self, label: &str, mut problem: Problem) {
        let same = |old: &&mut Problem| {
            old.path == problem.path && old.line == problem.line && old.message == problem.message
        };
        match self.0.iter_mut().find(same) {
            Some(old) => old.variants.push(label.to_owned()),
            None => {
                problem.variants.push(label.to_owned());
                self.0.push(problem);
            }
        }
    }

    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Report {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        write!(f, "{} problem(s) in the shaders", self.0.len())
    }
}

impl std::error::Error for Report {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_mistake_is_told_once() {
        let mut report = Report::default();
        report.add("a X=1", Problem::new("shaders/a.wgsl", Some(3), "no such name"));
        report.add("a X=2", Problem::new("shaders/a.wgsl", Some(3), "no such name"));
        report.add("a X=2", Problem::new("shaders/a.wgsl", Some(4), "no such name"));
        let text = report.to_string();
        assert!(
            text.starts_with("error: shaders/a.wgsl:3: no such name\n  in a X=1\n  in a X=2\n"),
            "{text}"
        );
        assert!(text.ends_with("2 problem(s) in the shaders"), "{text}");
    }
}
