//! The pre-tokenizers that GGUF files name, as the `tokenizers` crate spells them.
//!
//! The names and what they stand for: llama.cpp `llama-vocab.cpp`; the expressions are those of the models'
//! tokenizer.json.

use serde_json::{Value, json};

/// How a byte-level BPE tokenizer prepares a text.
pub(super) struct PreTokenizer {
    /// `normalizer` of tokenizer.json.
    pub(super) normalizer: Value,
    /// `pre_tokenizer` of tokenizer.json.
    pub(super) pre_tokenizer: Value,
    /// Whether a piece that is a token stays one even where the merges do not lead to it.
    pub(super) ignore_merges: bool,
    /// Whether texts begin with the begin-of-sequence token where the file does not say.
    pub(super) add_bos: bool,
}

/// Names that are understood, for messages.
pub(super) const NAMES: &str = "one of default, gpt-2, llama-bpe, qwen2, deepseek-r1-qwen, smollm, tekken, starcoder, refact, dbrx, smaug-bpe, falcon3, pixtral, megrez";

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// llama.cpp's own, for files that name none: one after the other.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

impl PreTokenizer {
    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let plain = |pre_tokenizer| Self {
            normalizer: Value::Null,
            pre_tokenizer,
            ignore_merges: false,
            add_bos: false,
        };
        Some(match name {
            "default" => plain(splits(&DEFAULT)),
            "gpt-2" => plain(byte_level(true)),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => Self {
                ignore_merges: true,
                add_bos: true,
                ..plain(splits(&[LLAMA_3]))
            },
            "dbrx" | "smaug-bpe" => plain(splits(&[LLAMA_3])),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => Self {
                normalizer: json!({"type": "NFC"}),
                ..plain(splits(&[QWEN_2]))
            },
            "tekken" => Self {
                ignore_merges: true,
                add_bos: true,
                ..plain(splits(&[TEKKEN]))
            },
            "smollm" | "starcoder" | "refact" => plain(sequence(vec![
                json!({"type": "Digits", "individual_digits": true}),
                byte_level(true),
            ])),
            _ => return None,
        })
    }
}

/// Bytes as printable characters; with GPT-2's expression, or after other splits.
fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn splits(expressions: &[&str]) -> Value {
    let split = |expression: &&str| {
        json!({
            "type": "Split",
            "pattern": {"Regex": expression},
            "behavior": "Isolated",
            "invert": false,
        })
    };
    let mut steps: Vec<_> = expressions.iter().map(split).collect();
    steps.push(byte_level(false));
    sequence(steps)
}

fn sequence(steps: Vec<Value>) -> Value {
    json!({"type": "Sequence", "pretokenizers": steps})
}
