//! The line preprocessor: `#import`, `#if` and `#{NAME}`, and a map back to the lines as written.
//!
//! The expanded text has no trace of directives and of lines that a condition leaves out, except one
//! comment where a file begins or goes on, so that it reads well when dumped.

use super::condition::{Condition, is_word};
use super::{Problem, Sources, Variant};

/// Final WGSL; line `i` of `text` (from 0) was written at `origins[i]`.
#[derive(Debug, Default)]
pub struct Expanded {
    pub text: String,
    /// Path of the kernel's own file.
    pub path: String,
    origins: Vec<(String, u32)>,
}

impl Expanded {
    /// Path and line of the text as written, for a line (from 1) of the expanded text.
    pub fn origin(&self, line: u32) -> (String, Option<u32>) {
        let origin = (line as usize)
            .checked_sub(1)
            .and_then(|line| self.origins.get(line));
        match origin {
            Some((path, line)) => (path.clone(), Some(*line)),
            None => (self.path.clone(), None),
        }
    }

    /// As [`Self::origin`], for the first line that holds `pattern`.
    pub fn origin_of(&self, pattern: &str) -> (String, Option<u32>) {
        let index = self.text.lines().position(|line| line.contains(pattern));
        self.origin(index.map_or(0, |index| index as u32 + 1))
    }

    fn push(&mut self, text: &str, path: &str, line: u32) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
        self.origins.push((path.to_owned(), line));
    }
}

/// Expands one variant of a kernel that `sources` has.
pub fn expand(sources: &Sources, variant: &Variant) -> Result<Expanded, Problem> {
    let path = sources.path(&format!("{}.wgsl", variant.kernel));
    let text = sources.kernels.get(&variant.kernel).map_or("", String::as_str);
    let output = Expanded {
        path: path.clone(),
        ..Expanded::default()
    };
    let mut expander = Expander {
        sources,
        variant,
        output,
        imported: Vec::new(),
        open: Vec::new(),
    };
    expander.file(&path, text)?;
    Ok(expander.output)
}

struct Expander<'a> {
    sources: &'a Sources,
    variant: &'a Variant,
    output: Expanded,
    /// Shared files seen so far: each comes once.
    imported: Vec<String>,
    /// Shared files that are being expanded now, outermost first.
    open: Vec<String>,
}

/// One `#if` that waits for its `#endif`.
struct Block {
    line: u32,
    /// Whether the lines around the block are kept.
    outer: bool,
    /// Whether one of its branches was kept already.
    taken: bool,
    active: bool,
    has_else: bool,
}

impl Expander<'_> {
    fn file(&mut self, path: &str, text: &str) -> Result<(), Problem> {
        let mut blocks: Vec<Block> = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let line = index as u32 + 1;
            let active = blocks.last().is_none_or(|block| block.active);
            let Some(directive) = directive(text) else {
                if active {
                    let text = self
                        .substitute(text)
                        .map_err(|m| Problem::new(path, Some(line), m))?;
                    self.output.push(&text, path, line);
                }
                continue;
            };
            let (name, rest) = directive;
            let result = match name {
                "import" if !active => Ok(()),
                "import" => self.import(rest, path, line)?,
                _ => self.conditional(name, rest, line, active, &mut blocks),
            };
            result.map_err(|message| Problem::new(path, Some(line), message))?;
        }
        match blocks.last() {
            Some(block) => Err(Problem::new(path, Some(block.line), "this `#if` has no `#endif`")),
            None => Ok(()),
        }
    }

    /// The outer error is one inside the imported file, the inner one this line's own.
    fn import(&mut self, name: &str, path: &str, line: u32) -> Result<Result<(), String>, Problem> {
        if self.open.iter().any(|open| open == name) {
            let cycle = format!("{} -> {name}", self.open.join(" -> "));
            return Ok(Err(format!("`#import {name}` closes a cycle: {cycle}")));
        }
        if self.imported.iter().any(|imported| imported == name) {
            return Ok(Ok(()));
        }
        let file = self.sources.path(&format!("shared/{name}.wgsl"));
        let Some(text) = self.sources.shared.get(name) else {
            return Ok(Err(format!("`#import {name}`: there is no {file}")));
        };
        self.imported.push(name.to_owned());
        self.open.push(name.to_owned());
        self.output.push(&format!("// ---- {file}"), path, line);
        self.file(&file, text)?;
        self.output.push(&format!("// ---- {path}"), path, line);
        self.open.pop();
        Ok(Ok(()))
    }

    fn conditional(
        &self,
        name: &str,
        rest: &str,
        line: u32,
        active: bool,
        blocks: &mut Vec<Block>,
    ) -> Result<(), String> {
        if name == "if" {
            let holds = self.holds(rest, active)?;
            blocks.push(Block {
                line,
                outer: active,
                taken: holds,
                active: holds,
                has_else: false,
            });
            return Ok(());
        }
        let Some(block) = blocks.last_mut() else {
            return Err(format!("`#{name}` without `#if`, or an unknown directive"));
        };
        match name {
            "elif" if !block.has_else => {
                let holds = self.holds(rest, block.outer)?;
                block.active = holds && !block.taken;
                block.taken |= holds;
            }
            "else" if !block.has_else && rest.is_empty() => {
                block.active = block.outer && !block.taken;
                block.has_else = true;
            }
            "endif" if rest.is_empty() => drop(blocks.pop()),
            "elif" | "else" if block.has_else => return Err(format!("`#{name}` after `#else`")),
            "else" | "endif" => return Err(format!("`#{name}` takes no expression, found `{rest}`")),
            _ => return Err(format!("unknown directive `#{name}`")),
        }
        Ok(())
    }

    /// A condition inside lines that are left out must parse, but its names may be undefined there.
    fn holds(&self, text: &str, outer: bool) -> Result<bool, String> {
        let condition = Condition::parse(text).map_err(|error| error.to_string())?;
        let value = outer.then(|| condition.evaluate(|name| self.variant.define(name)));
        value.unwrap_or(Ok(false)).map_err(|error| error.to_string())
    }

    /// Replaces every `#{NAME}`.
    fn substitute(&self, text: &str) -> Result<String, String> {
        let mut parts = text.split("#{");
        let mut result = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let Some((name, rest)) = part.split_once('}').filter(|(name, _)| is_word(name)) else {
                return Err(format!("expected `#{{NAME}}`, found `#{{{part}`"));
            };
            let value = self.variant.define(name);
            result += value.ok_or_else(|| format!("`{name}` is not defined in this variant"))?;
            result += rest;
        }
        Ok(result)
    }
}

/// Splits `#name rest // comment`; a line that only begins with `#{NAME}` is none.
fn directive(text: &str) -> Option<(&str, &str)> {
    let text = text
        .trim_start()
        .strip_prefix('#')
        .filter(|text| !text.starts_with('{'))?;
    let text = text.split_once("//").map_or(text, |(text, _)| text).trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Some((name, rest.trim()))
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
