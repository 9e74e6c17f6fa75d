//! From llama.cpp's tokenizer metadata to a tokenizer.json for the `tokenizers` crate, and the special tokens.
//!
//! Source of the keys: gguf-py `constants.py`; of the defaults: llama.cpp `llama-vocab.cpp`.

use serde_json::{Map, Value, json};

use super::metadata::MetaView;
use super::pre_tokenizer::{self, PreTokenizer};
use super::sentencepiece::{self, MAX_PIECE};
use crate::{CheckpointError, Problem, Problems, Result, TokenizerConfig};

/// llama.cpp's token types.
const NORMAL: u32 = 1;
const UNKNOWN: u32 = 2;
const CONTROL: u32 = 3;
const USER_DEFINED: u32 = 4;

/// The special tokens and templates, and tokenizer.json; nothing for the latter where the file has no tokenizer.
///
/// # Errors
/// [`CheckpointError::Unsupported`] for a kind of tokenizer or a pre-tokenizer that is not known;
/// [`CheckpointError::Malformed`] with every bad key.
pub(super) fn read(view: &mut MetaView<'_>) -> Result<(TokenizerConfig, Option<Vec<u8>>)> {
    let model = view.text("tokenizer.ggml.model").unwrap_or("none");
    if model == "none" || model == "no_vocab" {
        return Ok((config(view, &[], None), None));
    }
    let tokens = view.texts("tokenizer.ggml.tokens").unwrap_or_default();
    if tokens.is_empty() {
        view.problem("tokenizer.ggml.tokens", "the vocabulary", "none");
    }
    let vocabulary = Vocabulary::read(view, &tokens);
    let (parts, add_bos) = match model {
        "gpt2" => byte_level_bpe(view)?,
        "llama" => sentencepiece_bpe(view, &vocabulary),
        other => {
            let expected = "\"gpt2\" (byte-level BPE) or \"llama\" (SentencePiece)";
            return Err(unsupported(view, "tokenizer.ggml.model", expected, other));
        }
    };
    let add_bos = view.boolean("tokenizer.ggml.add_bos_token").unwrap_or(add_bos);
    let add_eos = view.boolean("tokenizer.ggml.add_eos_token").unwrap_or(false);
    let config = config(view, &tokens, Some((add_bos, add_eos)));
    std::mem::take(&mut view.problems).into_result()?;
    let frame = (
        config.bos_token.as_deref().filter(|_| add_bos),
        config.eos_token.as_deref().filter(|_| add_eos),
    );
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": post_processor(frame, &tokens),
        "decoder": parts.decoder,
        "model": parts.model(&vocabulary),
    });
    Ok((config, Some(json.to_string().into_bytes())))
}

fn unsupported(view: &MetaView<'_>, key: &str, expected: &str, found: &str) -> CheckpointError {
    let problem = Problem::new(view.file, format!("`{key}`"), expected, format!("{found:?}"));
    CheckpointError::Unsupported {
        problems: Problems(vec![problem]),
        hint: "use the model's Hugging Face folder, which has a tokenizer.json".into(),
    }
}

/// The tokens with what they are.
struct Vocabulary<'a> {
    tokens: &'a [&'a str],
    /// One a token, or empty where the file has none and all are ordinary.
    kinds: Vec<u32>,
    scores: Vec<f32>,
    /// Ids that some key names: begin, end, padding, ...
    named: Vec<u32>,
}

impl<'a> Vocabulary<'a> {
    fn read(view: &mut MetaView<'_>, tokens: &'a [&'a str]) -> Self {
        let kinds = view.integers("tokenizer.ggml.token_type").unwrap_or_default();
        let scores = view.floats("tokenizer.ggml.scores").unwrap_or_default();
        for (key, len) in [
            ("tokenizer.ggml.token_type", kinds.len()),
            ("tokenizer.ggml.scores", scores.len()),
        ] {
            if len != 0 && len != tokens.len() {
                view.problem(
                    key,
                    format!("{} of them, one a token", tokens.len()),
                    len.to_string(),
                );
            }
        }
        let mut named = Vec::new();
        for name in ["bos", "eos", "eot", "eom", "unknown", "padding"] {
            let key = format!("tokenizer.ggml.{name}_token_id");
            if let Some(id) = view.token(&key) {
                if id as usize >= tokens.len() {
                    view.problem(&key, format!("a token id below {}", tokens.len()), id.to_string());
                }
                named.push(id);
            }
        }
        Self {
            tokens,
            kinds,
            scores,
            named,
        }
    }

    fn kind(&self, id: usize) -> u32 {
        self.kinds.get(id).copied().unwrap_or(NORMAL)
    }

    /// Tokens that are cut out of a text before the model sees it.
    fn added_tokens(&self) -> Vec<Value> {
        let tokens = self.tokens.iter().enumerate();
        tokens
            .filter_map(|(id, text)| {
                let is_special = match self.kind(id) {
                    UNKNOWN | CONTROL => true,
                    USER_DEFINED => false,
                    _ if self.named.contains(&(id as u32)) => true,
                    _ => return None,
                };
                Some(json!({
                    "id": id,
                    "content": text,
                    "single_word": false,
                    "lstrip": false,
                    "rstrip": false,
                    "normalized": false,
                    "special": is_special,
                }))
            })
            .collect()
    }

    /// The ordinary tokens with their scores.
    fn pieces(&self) -> Vec<(&'a str, u32, f32)> {
        let tokens = self.tokens.iter().enumerate();
        tokens
            .filter(|(id, _)| self.kind(*id) == NORMAL)
            .map(|(id, text)| (*text, id as u32, self.scores.get(id).copied().unwrap_or(0.0)))
            .collect()
    }
}

/// What the kinds of tokenizers differ in.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    merges: Value,
    ignore_merges: bool,
    /// The token for what the vocabulary lacks, whose bytes are tried first.
    unk_token: Option<String>,
}

impl Parts {
    fn model(&self, vocabulary: &Vocabulary<'_>) -> Value {
        let tokens = vocabulary.tokens.iter().enumerate();
        let vocab: Map<String, Value> = tokens.map(|(id, text)| ((*text).into(), id.into())).collect();
        json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": self.unk_token,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": self.unk_token.is_some(),
            "byte_fallback": self.unk_token.is_some(),
            "ignore_merges": self.ignore_merges,
            "vocab": vocab,
            "merges": self.merges,
        })
    }
}

/// GPT-2's kind: bytes as characters, merges as listed. Also whether texts begin with the begin token by default.
fn byte_level_bpe(view: &mut MetaView<'_>) -> Result<(Parts, bool)> {
    let key = "tokenizer.ggml.pre";
    let name = view.text(key).unwrap_or("default");
    let Some(pre) = PreTokenizer::named(name) else {
        return Err(unsupported(view, key, pre_tokenizer::NAMES, name));
    };
    let key = "tokenizer.ggml.merges";
    let merges = view.texts(key).unwrap_or_default();
    if merges.is_empty() {
        view.problem(key, "the merges", "none");
    }
    // A space is a separator here and no part of a token: byte-level tokens have none.
    let pairs = merges
        .iter()
        .map(|merge| merge.split_once(' ').map(|(a, b)| [a, b]));
    let pairs: Option<Vec<_>> = pairs.collect();
    if pairs.is_none() {
        view.problem(key, "two tokens a merge, with a space between", "another text");
    }
    let parts = Parts {
        normalizer: pre.normalizer,
        pre_tokenizer: pre.pre_tokenizer,
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        merges: json!(pairs),
        ignore_merges: pre.ignore_merges,
        unk_token: None,
    };
    Ok((parts, pre.add_bos))
}

/// SentencePiece's kind, whose texts begin with the begin token by default.
fn sentencepiece_bpe(view: &mut MetaView<'_>, vocabulary: &Vocabulary<'_>) -> (Parts, bool) {
    let prefix = view.boolean("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    if vocabulary.scores.is_empty() {
        view.problem("tokenizer.ggml.scores", "a score a token", "none");
    }
    if let Some(score) = vocabulary.scores.iter().find(|score| score.is_nan()) {
        view.problem("tokenizer.ggml.scores", "numbers", score.to_string());
    }
    let pieces = vocabulary.pieces();
    let longest = pieces.iter().map(|(text, ..)| text.len()).max().unwrap_or(0);
    let merges = if longest > MAX_PIECE {
        let expected = format!("tokens of at most {MAX_PIECE} bytes");
        view.problem("tokenizer.ggml.tokens", expected, format!("one of {longest}"));
        Vec::new()
    } else {
        sentencepiece::merges(&pieces)
    };
    // llama.cpp's default is token 0.
    let unknown = view.token("tokenizer.ggml.unknown_token_id").unwrap_or(0);
    let parts = Parts {
        normalizer: sentencepiece::normalizer(prefix),
        pre_tokenizer: Value::Null,
        decoder: sentencepiece::decoder(prefix),
        merges: json!(merges),
        ignore_merges: false,
        unk_token: vocabulary.tokens.get(unknown as usize).map(|text| (*text).into()),
    };
    (parts, true)
}

/// Special tokens and chat templates.
fn config(view: &mut MetaView<'_>, tokens: &[&str], add: Option<(bool, bool)>) -> TokenizerConfig {
    let mut token = |name: &str| {
        let id = view.token(&format!("tokenizer.ggml.{name}_token_id"))?;
        tokens.get(id as usize).map(|text| (*text).to_string())
    };
    let (bos_token, eos_token) = (token("bos"), token("eos"));
    let (pad_token, unk_token) = (token("padding"), token("unknown"));
    let mut chat_templates = Vec::new();
    if let Some(template) = view.text("tokenizer.chat_template") {
        chat_templates.push(("default".to_string(), template.to_string()));
    }
    for name in view.texts("tokenizer.chat_templates").unwrap_or_default() {
        if let Some(template) = view.text(&format!("tokenizer.chat_template.{name}")) {
            chat_templates.push((name.to_string(), template.to_string()));
        }
    }
    TokenizerConfig {
        bos_token,
        eos_token,
        pad_token,
        unk_token,
        add_bos_token: add.map(|(bos, _)| bos),
        add_eos_token: add.map(|(_, eos)| eos),
        chat_templates,
        raw: Map::new(),
    }
}

/// `post_processor` of tokenizer.json: the begin and end tokens around a text.
fn post_processor((bos, eos): (Option<&str>, Option<&str>), tokens: &[&str]) -> Value {
    let mut special = Map::new();
    for token in [bos, eos].into_iter().flatten() {
        let id = tokens.iter().position(|text| *text == token);
        special.insert(token.into(), json!({"id": token, "ids": [id], "tokens": [token]}));
    }
    if special.is_empty() {
        return Value::Null;
    }
    let framed = |sequences: &[&str]| {
        let mut steps = Vec::new();
        for (type_id, id) in sequences.iter().enumerate() {
            let special = |token: Option<&str>| {
                token.map(|token| json!({"SpecialToken": {"id": token, "type_id": type_id}}))
            };
            steps.extend(special(bos));
            steps.push(json!({"Sequence": {"id": id, "type_id": type_id}}));
            steps.extend(special(eos));
        }
        steps
    };
    json!({
        "type": "TemplateProcessing",
        "single": framed(&["A"]),
        "pair": framed(&["A", "B"]),
        "special_tokens": special,
    })
}
