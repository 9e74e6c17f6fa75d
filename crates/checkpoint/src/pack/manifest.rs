//! `manifest.json`: what a pack consists of.

use std::fmt;

use serde_json::{Value, json};

use super::fields;
use crate::Result;

/// The largest file of a pack in bytes: what a browser holds at once while it verifies a part.
pub const MAX_PART_BYTES: u64 = 64 << 20;

/// The value of `format`.
pub(super) const FORMAT: &str = "anylora-pack";

/// The value of `version`. Readers refuse every other.
pub(super) const VERSION: u64 = 1;

/// The manifest's own name, which no part has.
pub(super) const FILE: &str = "manifest.json";

/// How the linear layers of a pack are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackQuantization {
    /// NF4 codes.
    Nf4,
    /// FP4 codes, where the model that was packed had them.
    Fp4,
    /// One float an element.
    None,
}

impl PackQuantization {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nf4, Self::Fp4, Self::None];

    /// `nf4`, `fp4` or `none`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
            Self::None => "none",
        }
    }
}

impl fmt::Display for PackQuantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A file of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackPart {
    /// Its name: ASCII letters, digits, `-`, `_` and `.`, not starting with a dot. It lies beside the manifest.
    pub path: String,
    /// Its length, 1 to [`MAX_PART_BYTES`].
    pub bytes: u64,
    /// The SHA-256 of its content.
    pub sha256: [u8; 32],
}

impl PackPart {
    /// The hash in 64 lower-case hexadecimal digits.
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn to_json(&self) -> Value {
        json!({"path": self.path, "bytes": self.bytes, "sha256": self.sha256_hex()})
    }
}

/// What a pack consists of. [`PackManifest::from_json`] and [`PackManifest::new`] make only such that hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackManifest {
    /// The model's name, for people.
    pub name: String,
    /// How linear layers are stored.
    pub quantization: PackQuantization,
    /// Files beside the weights: config.json and tokenizer.json at least.
    pub files: Vec<PackPart>,
    /// The safetensors files, in the order of the model's layers.
    pub shards: Vec<PackPart>,
}

impl PackManifest {
    /// A manifest of these parts.
    ///
    /// # Errors
    /// As [`PackManifest::from_json`].
    pub fn new(
        name: &str,
        quantization: PackQuantization,
        files: Vec<PackPart>,
        shards: Vec<PackPart>,
    ) -> Result<Self> {
        let manifest = Self {
            name: name.into(),
            quantization,
            files,
            shards,
        };
        Self::from_json(manifest.to_json().as_bytes())
    }

    /// Parses and checks manifest.json. Nothing is allocated beyond what its length warrants.
    ///
    /// # Errors
    /// [`crate::CheckpointError::Malformed`] with every bad field and part: missing fields, names that are no plain
    /// file names or come twice, lengths above [`MAX_PART_BYTES`], hashes that are none, a total that is not the sum,
    /// no config.json or tokenizer.json. [`crate::CheckpointError::Unsupported`] for another version.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        fields::manifest(bytes)
    }

    /// The content of manifest.json.
    pub fn to_json(&self) -> String {
        let parts = |parts: &[PackPart]| parts.iter().map(PackPart::to_json).collect::<Vec<_>>();
        let manifest = json!({
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "quantization": self.quantization.name(),
            "total_bytes": self.total_bytes(),
            "files": parts(&self.files),
            "shards": parts(&self.shards),
        });
        format!("{manifest:#}\n")
    }

    /// Bytes of all parts, the manifest not counted.
    pub fn total_bytes(&self) -> u64 {
        // A sum beyond u64 takes more parts than a manifest can list.
        self.parts()
            .fold(0, |sum: u64, part| sum.saturating_add(part.bytes))
    }

    /// All files, then all shards.
    pub fn parts(&self) -> impl Iterator<Item = &PackPart> {
        self.files.iter().chain(&self.shards)
    }
}
