//! A record's bytes to JSON, and JSON to an example.

use serde_json::{Map, Value};

use super::{
    Example, FileKind, Format, Problem,
    index::Fault,
    json::{Keys, kind_of},
};
use crate::template::Message;

/// A record's value. A fault's line counts from the record's first, from 0.
pub(super) fn value(bytes: Vec<u8>, kind: FileKind, columns: &[String]) -> Result<Value, Fault> {
    let text = String::from_utf8(bytes)
        .map_err(|error| (0, Problem::NotUtf8(error.utf8_error().valid_up_to() + 1)))?;
    match kind {
        FileKind::PlainText => Ok(Value::String(text.replace("\r\n", "\n"))),
        FileKind::JsonLines => parse(&text, "write one whole object on each line"),
        FileKind::JsonArray => parse(&text, "check the element's quotes and commas"),
        FileKind::Table { separator } => row(&text, separator, columns).map_err(|problem| (0, problem)),
    }
}

fn parse(text: &str, hint: &'static str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        // The parser appends " at line L column C", which the error shows in its own way.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        let below = (error.line() as u64).saturating_sub(1);
        (
            below,
            Problem::Json {
                column: error.column(),
                message,
                hint,
            },
        )
    })
}

/// The fields of one row.
pub(super) fn cells(text: &str, separator: u8) -> Result<Vec<String>, Problem> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let record = reader
        .records()
        .next()
        .unwrap_or_else(|| Ok(csv::StringRecord::new()));
    let record = record.map_err(|error| Problem::Table(error.to_string()))?;
    Ok(record.iter().map(str::to_owned).collect())
}

fn row(text: &str, separator: u8, columns: &[String]) -> Result<Value, Problem> {
    let cells = cells(text, separator)?;
    if cells.len() != columns.len() {
        let (expected, found) = (columns.len(), cells.len());
        return Err(Problem::Table(format!(
            "expected {expected} columns, found {found}"
        )));
    }
    let cells = cells.into_iter().map(Value::String);
    Ok(Value::Object(columns.iter().cloned().zip(cells).collect()))
}

/// The format whose keys `value` has.
pub(super) fn recognise(value: &Value) -> Result<Format, Problem> {
    let Value::Object(object) = value else {
        return Err(Problem::UnknownFormat {
            found: format!("no keys, but {}", kind_of(value)),
        });
    };
    let has = |keys: &[&str]| keys.iter().all(|key| object.contains_key(*key));
    let known = [
        (Format::Tokens, &["input_ids"][..]),
        (Format::Messages, &["messages"]),
        (Format::ShareGpt, &["conversations"]),
        (Format::Alpaca, &["instruction", "output"]),
        (Format::PromptCompletion, &["prompt", "completion"]),
        (Format::Text, &["text"]),
    ];
    let found = known
        .into_iter()
        .find(|(_, keys)| has(keys))
        .map(|(format, _)| format);
    found.ok_or_else(|| {
        let keys: Vec<_> = object.keys().map(String::as_str).collect();
        Problem::UnknownFormat {
            found: keys.join(", "),
        }
    })
}

/// What a record says in a given format.
pub(super) fn example(value: Value, format: Format) -> Result<Example, Problem> {
    if let (Value::String(text), Format::Text) = (&value, format) {
        return Ok(Example::Text(text.clone()));
    }
    let Value::Object(object) = value else {
        return Err(Problem::Record {
            format,
            expected: "an object".to_owned(),
            found: kind_of(&value).to_owned(),
            hint: "write {\"key\": value, ...}",
        });
    };
    let mut keys = Keys { object, format };
    match format {
        Format::Messages => {
            let messages = messages(&mut keys, "messages", message)?;
            Ok(Example::Conversation {
                messages,
                trained_from: 0,
            })
        }
        Format::ShareGpt => {
            let mut turns = messages(&mut keys, "conversations", turn)?;
            if let Some(system) = keys.optional_text("system")?.filter(|text| !text.is_empty()) {
                turns.insert(0, Message::new("system", system));
            }
            Ok(Example::Conversation {
                messages: turns,
                trained_from: 0,
            })
        }
        Format::Alpaca => Ok(Example::Instruction {
            system: keys.optional_text("system")?.filter(|text| !text.is_empty()),
            instruction: keys.text("instruction")?,
            input: keys.optional_text("input")?.unwrap_or_default(),
            output: keys.text("output")?,
        }),
        Format::PromptCompletion if keys.object.get("prompt").is_some_and(Value::is_array) => {
            let mut all = messages(&mut keys, "prompt", message)?;
            let trained_from = all.len();
            all.extend(messages(&mut keys, "completion", message)?);
            Ok(Example::Conversation {
                messages: all,
                trained_from,
            })
        }
        Format::PromptCompletion => Ok(Example::Completion {
            prompt: keys.text("prompt")?,
            completion: keys.text("completion")?,
        }),
        Format::Text => Ok(Example::Text(keys.text("text")?)),
        Format::Tokens => {
            let input_ids = keys.integers("input_ids", "token ids, integers from 0")?;
            let labels = match keys.object.get("labels") {
                None | Some(Value::Null) => None,
                Some(_) => Some(keys.integers("labels", "labels, integers, -100 where not trained")?),
            };
            if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != input_ids.len()) {
                let expected = format!("as many labels as input_ids ({})", input_ids.len());
                let found = labels.len().to_string();
                return Err(keys.wrong(expected, &found, "labels are not shifted: one for each input id"));
            }
            Ok(Example::Tokens { input_ids, labels })
        }
    }
}

type Read = fn(&mut Keys) -> Result<Message, Problem>;

fn messages(keys: &mut Keys, key: &'static str, read: Read) -> Result<Vec<Message>, Problem> {
    let format = keys.format;
    let list = keys.take(key, "a list of messages", |value| match value {
        Value::Array(list) => Ok(list),
        other => Err(other),
    })?;
    if list.is_empty() {
        return Err(keys.wrong(
            format!("messages in `{key}`"),
            "an empty list",
            "remove the record",
        ));
    }
    let each = |(at, value)| match value {
        Value::Object(object) => read(&mut Keys { object, format }),
        other => {
            let expected = format!("an object as message {} of `{key}`", at + 1);
            Err(Keys {
                object: Map::new(),
                format,
            }
            .wrong(
                expected,
                kind_of(&other),
                "write {\"role\": \"user\", \"content\": \"...\"}",
            ))
        }
    };
    list.into_iter().enumerate().map(each).collect()
}

fn message(keys: &mut Keys) -> Result<Message, Problem> {
    let role = keys.text("role")?;
    let content = match keys.object.remove("content") {
        Some(Value::Array(parts)) => parts
            .into_iter()
            .map(|part| part_text(part, keys))
            .collect::<Result<_, _>>()?,
        // A message that only calls tools has no text.
        None | Some(Value::Null) if keys.object.contains_key("tool_calls") => String::new(),
        content => {
            keys.object
                .extend(content.map(|content| ("content".to_owned(), content)));
            keys.text("content")?
        }
    };
    Ok(Message {
        role,
        content,
        extra: std::mem::take(&mut keys.object),
    })
}

fn part_text(part: Value, keys: &Keys) -> Result<String, Problem> {
    match &part {
        Value::String(text) => Ok(text.clone()),
        Value::Object(object) if object.get("type").is_none_or(|kind| kind == "text") => {
            let text = object.get("text").and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| {
                keys.wrong(
                    "a `text` in each content part".to_owned(),
                    "none",
                    "write {\"type\": \"text\", \"text\": \"...\"}",
                )
            })
        }
        _ => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or(kind_of(&part));
            Err(keys.wrong(
                "text content".to_owned(),
                kind,
                "images and sound can't be trained on: remove the record",
            ))
        }
    }
}

/// ShareGPT names the roles otherwise.
fn turn(keys: &mut Keys) -> Result<Message, Problem> {
    let from = keys.text("from")?;
    let role = match from.as_str() {
        "human" | "user" => "user",
        "gpt" | "assistant" | "model" | "chatgpt" | "bing" | "bard" => "assistant",
        "system" => "system",
        "tool" | "observation" | "function_response" => "tool",
        other => {
            let expected = "`from` to be human, gpt, system or tool".to_owned();
            return Err(keys.wrong(expected, &format!("{other:?}"), "rename the speaker"));
        }
    };
    let content = keys.text("value")?;
    Ok(Message {
        role: role.to_owned(),
        content,
        extra: std::mem::take(&mut keys.object),
    })
}
