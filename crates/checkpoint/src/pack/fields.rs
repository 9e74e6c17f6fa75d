//! Reading the manifest: everything wrong is collected.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::manifest::{FILE, FORMAT, VERSION};
use super::{MAX_PART_BYTES, PackManifest, PackPart, PackQuantization};
use crate::fields::{kind, parse_object};
use crate::{CheckpointError, Problem, Problems, Result};

/// Characters of a model's name.
const MAX_NAME: usize = 200;

/// What every pack has.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];

struct Reader<'a> {
    object: &'a Map<String, Value>,
    problems: Problems,
}

/// [`PackManifest::from_json`].
pub(super) fn manifest(bytes: &[u8]) -> Result<PackManifest> {
    let object = parse_object(FILE, bytes)?;
    check_version(&object)?;
    let mut reader = Reader {
        object: &object,
        problems: Problems::default(),
    };
    let manifest = PackManifest {
        name: reader.name(),
        quantization: reader.quantization(),
        files: reader.parts("files"),
        shards: reader.parts("shards"),
    };
    reader.check(&manifest);
    reader.problems.into_result()?;
    Ok(manifest)
}

/// The first thing to look at: nothing is known of the fields of another format.
fn check_version(object: &Map<String, Value>) -> Result<()> {
    let field = |name: &str| object.get(name).unwrap_or(&Value::Null);
    if field("format").as_str() != Some(FORMAT) {
        let found = kind(field("format"));
        return Err(CheckpointError::malformed(
            FILE,
            "`format`",
            format!("\"{FORMAT}\""),
            found,
        ));
    }
    if field("version").as_u64() != Some(VERSION) {
        let found = kind(field("version"));
        let problem = Problem::new(FILE, "`version`", VERSION.to_string(), found);
        return Err(CheckpointError::Unsupported {
            problems: Problems(vec![problem]),
            hint: "pack the model again: anylora pack --model MODEL --out DIR".into(),
        });
    }
    Ok(())
}

impl<'a> Reader<'a> {
    fn problem(&mut self, place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) {
        self.problems.0.push(Problem::new(FILE, place, expected, found));
    }

    fn get(&self, name: &str) -> &'a Value {
        self.object.get(name).unwrap_or(&Value::Null)
    }

    fn name(&mut self) -> String {
        let value = self.get("name");
        let fits = |name: &&str| {
            !name.trim().is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control)
        };
        match value.as_str().filter(fits) {
            Some(name) => name.into(),
            None => {
                let expected = format!("a name of 1 to {MAX_NAME} characters on one line");
                self.problem("`name`", expected, kind(value));
                String::new()
            }
        }
    }

    fn quantization(&mut self) -> PackQuantization {
        let value = self.get("quantization");
        let known = PackQuantization::ALL
            .into_iter()
            .find(|known| value.as_str() == Some(known.name()));
        known.unwrap_or_else(|| {
            self.problem("`quantization`", "\"nf4\", \"fp4\" or \"none\"", kind(value));
            PackQuantization::None
        })
    }

    fn parts(&mut self, field: &str) -> Vec<PackPart> {
        let value = self.get(field);
        let Some(items) = value.as_array() else {
            self.problem(format!("`{field}`"), "a list of parts", kind(value));
            return Vec::new();
        };
        let parts = items.iter().enumerate();
        parts
            .filter_map(|(i, item)| self.part(&format!("`{field}[{i}]"), item))
            .collect()
    }

    /// One part; `place` lacks its closing quote.
    fn part(&mut self, place: &str, value: &Value) -> Option<PackPart> {
        let field = |name: &str| value.get(name).unwrap_or(&Value::Null);
        let path = field("path").as_str().filter(|path| is_plain(path));
        if path.is_none() {
            let expected = "a plain file name of ASCII letters, digits, `-`, `_` and `.`";
            self.problem(format!("{place}.path`"), expected, kind(field("path")));
        }
        let bytes = field("bytes")
            .as_u64()
            .filter(|bytes| (1..=MAX_PART_BYTES).contains(bytes));
        if bytes.is_none() {
            let expected = format!("a length from 1 to {MAX_PART_BYTES}");
            self.problem(format!("{place}.bytes`"), expected, kind(field("bytes")));
        }
        let sha256 = field("sha256").as_str().and_then(digest);
        if sha256.is_none() {
            let expected = "64 lower-case hexadecimal digits";
            self.problem(format!("{place}.sha256`"), expected, kind(field("sha256")));
        }
        Some(PackPart {
            path: path?.into(),
            bytes: bytes?,
            sha256: sha256?,
        })
    }

    /// What the parts have to be together.
    fn check(&mut self, manifest: &PackManifest) {
        let mut seen = BTreeSet::new();
        for part in manifest.parts() {
            // Windows and macOS tell no letters apart by their case.
            if !seen.insert(part.path.to_ascii_lowercase()) {
                self.problem(format!("part `{}`", part.path), "every part once", "it twice");
            }
        }
        for shard in &manifest.shards {
            if !shard.path.ends_with(".safetensors") {
                self.problem(
                    format!("part `{}`", shard.path),
                    "a shard's name to end with .safetensors",
                    "another end",
                );
            }
        }
        // Of a list with bad parts it isn't known what is missing.
        if !self.problems.0.is_empty() {
            return;
        }
        if manifest.shards.is_empty() {
            self.problem("`shards`", "at least one", "none");
        }
        for name in REQUIRED {
            if !manifest.files.iter().any(|part| part.path == name) {
                self.problem("`files`", name, "no such part");
            }
        }
        let (sum, total) = (manifest.total_bytes(), self.get("total_bytes"));
        if total.as_u64() != Some(sum) {
            let expected = format!("{sum}, the sum of all parts");
            self.problem("`total_bytes`", expected, kind(total));
        }
    }
}

/// Whether a name means a file beside the manifest, on every system and in every address.
fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=200).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.eq_ignore_ascii_case(FILE)
}

/// The 32 bytes of 64 lower-case hexadecimal digits.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut out = [0; 32];
    if pairs.len() != out.len() || !rest.is_empty() {
        return None;
    }
    for (out, [high, low]) in out.iter_mut().zip(pairs) {
        *out = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}
