//! Where each record starts and ends: one pass over the file, 16 bytes of memory a record.
//!
//! With it, records can be read in any order and from any position without holding the text.

use std::io::{self, BufRead, BufReader, Read};

use super::{FileKind, Problem};

/// A record's bytes and its first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) offset: u64,
    pub(super) length: u32,
    /// From 1.
    pub(super) line: u32,
}

/// Line of the file and what is wrong there.
pub(super) type Fault = (u64, Problem);

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What the pass over a file found.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) records: Vec<Location>,
    /// A table's column names.
    pub(super) columns: Vec<String>,
}

/// Finds the records of `reader`.
pub(super) fn index(reader: impl Read, kind: FileKind) -> Result<Index, Fault> {
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    match kind {
        FileKind::JsonLines => lines(&mut reader, false),
        FileKind::PlainText => lines(&mut reader, true),
        FileKind::JsonArray => array(reader),
        FileKind::Table { separator } => table(reader, separator),
    }
}

fn location(start: u64, end: u64, line: u64) -> Result<Location, Fault> {
    let length = u32::try_from(end - start).map_err(|_| (line, Problem::TooLong(end - start)))?;
    Ok(Location {
        offset: start,
        length,
        line: u32::try_from(line).unwrap_or(u32::MAX),
    })
}

/// One record a line, blank lines skipped; or, with `paragraphs`, one a run of lines between blank ones.
fn lines(reader: &mut impl BufRead, paragraphs: bool) -> Result<Index, Fault> {
    let mut index = Index::default();
    let (mut offset, mut number) = (0_u64, 0_u64);
    let mut open: Option<(u64, u64, u64)> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        number += 1;
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(|error| (number, error.into()))?;
        let bom = if offset == 0 && line.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let text = &line[bom..];
        let end = offset + (bom + text.trim_ascii_end().len()) as u64;
        let blank = text.trim_ascii().is_empty();
        if !blank {
            let start = offset + bom as u64;
            match &mut open {
                Some((_, last, _)) if paragraphs => *last = end,
                _ => open = Some((start, end, number)),
            }
        }
        if let Some((start, end, first)) = open.take_if(|_| blank || !paragraphs) {
            index.records.push(location(start, end, first)?);
        }
        offset += read as u64;
        if read == 0 {
            return Ok(index);
        }
    }
}

/// The elements of one JSON array. Only brackets, strings and commas are looked at here; an element that is
/// no JSON is found when it is read.
fn array(reader: impl BufRead) -> Result<Index, Fault> {
    let mut index = Index::default();
    let (mut line, mut depth) = (1_u64, 0_usize);
    let (mut in_string, mut escaped, mut closed) = (false, false, false);
    // The element's start, the end of its last byte that is no white space, its line.
    let mut element: Option<(u64, u64, u64)> = None;
    let fault = |line, column, message: &str| {
        let hint = "end the array with ], or write one object a line into a .jsonl file";
        (
            line,
            Problem::Json {
                column,
                message: message.to_owned(),
                hint,
            },
        )
    };
    let mut line_start = 0;
    for (at, byte) in reader.bytes().enumerate() {
        let byte = byte.map_err(|error: io::Error| (line, error.into()))?;
        let at = at as u64;
        if byte == b'\n' {
            line += 1;
            line_start = at + 1;
        }
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() || (at < 3 && depth == 0 && BYTE_ORDER_MARK.contains(&byte)) {
            continue;
        } else if closed || (depth == 0 && byte != b'[') {
            return Err(fault(
                line,
                (at - line_start) as usize + 1,
                "text outside of the array",
            ));
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            closed = depth == 0;
            if closed || (depth == 1 && byte == b',') {
                match element.take() {
                    Some((start, end, first)) => index.records.push(location(start, end, first)?),
                    None if closed && index.records.is_empty() => {}
                    None => {
                        let column = (at - line_start) as usize + 1;
                        return Err(fault(line, column, "a comma with no element beside it"));
                    }
                }
                continue;
            }
            if depth == 1 && byte == b'[' && element.is_none() && index.records.is_empty() {
                continue;
            }
        }
        match &mut element {
            Some((_, end, _)) => *end = at + 1,
            None => element = Some((at, at + 1, line)),
        }
    }
    if closed || index.records.is_empty() && element.is_none() {
        Ok(index)
    } else {
        Err(fault(line, 1, "the file ends inside of the array"))
    }
}

/// The rows of a table whose first row names the columns.
fn table(mut reader: impl BufRead, separator: u8) -> Result<Index, Fault> {
    let head = reader.fill_buf().map_err(|error| (1, error.into()))?;
    let skipped = if head.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    reader.consume(skipped);
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .from_reader(reader);
    let fault = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(error) => (line, error.into()),
            other => (line, Problem::Table(format!("{other:?}"))),
        }
    };
    let columns = rows.byte_headers().map_err(fault)?;
    let columns: Vec<_> = columns
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim().to_owned())
        .collect();
    let mut index = Index {
        columns,
        ..Index::default()
    };
    let mut row = csv::ByteRecord::new();
    loop {
        let more = rows.read_byte_record(&mut row).map_err(fault)?;
        let Some(position) = row.position().filter(|_| more) else {
            return Ok(index);
        };
        let end = rows.position().byte();
        let place = location(
            position.byte() + skipped as u64,
            end + skipped as u64,
            position.line(),
        )?;
        index.records.push(place);
    }
}
