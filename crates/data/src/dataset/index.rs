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

/// The rows of a table whose first row names the columns. A row ends at a line end outside of quotes; quotes
/// count where a field begins, as the csv library reads them.
fn table(mut reader: impl BufRead, separator: u8) -> Result<Index, Fault> {
    let head = reader.fill_buf().map_err(|error| (1, error.into()))?;
    let skipped = if head.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    reader.consume(skipped);
    let mut records = Vec::new();
    let (mut at, mut line) = (skipped as u64, 1_u64);
    let (mut field_start, mut quoted) = (true, false);
    let mut names = Vec::new();
    // The row's start and its line.
    let mut row: Option<(u64, u64)> = None;
    for byte in reader.bytes() {
        let byte = byte.map_err(|error: io::Error| (line, error.into()))?;
        if matches!(byte, b'\n' | b'\r') && !quoted {
            field_start = true;
            if let Some((start, first)) = row.take() {
                records.push(location(start, at, first)?);
            }
        } else {
            row = row.or(Some((at, line)));
            // Two quotes in a quoted field are one of its characters: it ends and begins again.
            match byte {
                b'"' if quoted => quoted = false,
                b'"' if field_start => quoted = true,
                _ => {}
            }
            field_start = byte == separator || (byte == b'"' && !quoted);
            if records.is_empty() {
                names.push(byte);
            }
        }
        line += u64::from(byte == b'\n');
        at += 1;
    }
    if let Some((start, first)) = row {
        if quoted {
            return Err((first, Problem::Table("a quote is never closed".to_owned())));
        }
        records.push(location(start, at, first)?);
    }
    let columns = super::records::cells(&String::from_utf8_lossy(&names), separator);
    let columns = columns.map_err(|problem| (1, problem))?;
    let columns: Vec<String> = columns.into_iter().map(|name| name.trim().to_owned()).collect();
    if let Some(at) = (1..columns.len()).find(|&at| columns[..at].contains(&columns[at])) {
        return Err((
            1,
            Problem::Table(format!("two columns are called {:?}", columns[at])),
        ));
    }
    // The first row is no record.
    records.drain(..records.len().min(1));
    Ok(Index { records, columns })
}
