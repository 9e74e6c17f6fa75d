//! The report for a terminal. Without colours the marks still tell trained from masked.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use anylora_data::{Finding, Report};

use super::Shown;

const TRAINED: Style = AnsiColor::Green.on_default();
const MASKED: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The widest bar of the histogram.
const BAR: usize = 40;

/// Counts, histogram, findings.
pub fn report(report: &Report, max_length: usize) -> String {
    let Report {
        file,
        format,
        records,
        trainable_records,
        tokens,
        trained_tokens,
        lengths,
        ..
    } = report;
    let share = 100.0 * *trained_tokens as f64 / (*tokens).max(1) as f64;
    let mut out = format!("{BOLD}{file}{BOLD:#}: format {format}\n\n");
    let cut = report.truncated_tokens;
    let mut row = |name: &str, text: String| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{name:<10} {text}");
    };
    row(
        "records",
        format!("{records}, {trainable_records} of them with something to train"),
    );
    row(
        "tokens",
        format!(
            "{tokens}, {trained_tokens} of them trained ({share:.1} %); {cut} more cut off at {max_length}"
        ),
    );
    row(
        "lengths",
        format!(
            "{} to {} tokens, mean {:.1}, median {}, 95 % up to {}",
            lengths.min, lengths.max, lengths.mean, lengths.median, lengths.p95
        ),
    );
    out.push('\n');
    let most = lengths
        .histogram
        .iter()
        .map(|bucket| bucket.records)
        .max()
        .unwrap_or(0);
    let width = lengths
        .histogram
        .last()
        .map_or(1, |bucket| bucket.to.to_string().len());
    for bucket in &lengths.histogram {
        let bar = "█".repeat((bucket.records * BAR).div_ceil(most.max(1)));
        let _ = writeln!(
            out,
            "{:>width$} to {:>width$} {bar} {}",
            bucket.from, bucket.to, bucket.records
        );
    }
    out.push('\n');
    for found in &report.findings {
        finding(&mut out, found);
    }
    if report.findings.is_empty() {
        out.push_str("Nothing wrong was found.\n\n");
    }
    out
}

fn finding(out: &mut String, finding: &Finding) {
    let (style, name) = match finding.error {
        true => (AnsiColor::Red.on_default().bold(), "wrong"),
        false => (AnsiColor::Yellow.on_default().bold(), "note"),
    };
    let _ = writeln!(out, "{style}{name}:{style:#} {finding}");
    for message in &finding.messages {
        let _ = writeln!(out, "  {message}");
    }
    let cyan = AnsiColor::Cyan.on_default().bold();
    let _ = writeln!(out, "{cyan}hint:{cyan:#} {}\n", finding.hint);
}

/// The first examples.
pub fn examples(examples: &[Shown]) -> String {
    if examples.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "{MASKED}masked{MASKED:#}, {TRAINED}«trained»{TRAINED:#}, ■ after an end that is trained, □ after one that is not\n"
    );
    for example in examples {
        let _ = write!(out, "\n{BOLD}line {}{BOLD:#}\n", example.line);
        let mut open = false;
        for piece in &example.pieces {
            // The brackets enclose a whole run of trained pieces.
            if piece.trained != open {
                let bracket = if open { "»" } else { "«" };
                let _ = write!(out, "{TRAINED}{bracket}{TRAINED:#}");
                open = piece.trained;
            }
            let style = if piece.trained { TRAINED } else { MASKED };
            let style = if piece.special { style.bold() } else { style };
            let _ = write!(out, "{style}{}{style:#}", piece.text);
            if piece.ends {
                out.push(if piece.trained { '■' } else { '□' });
            }
        }
        if open {
            let _ = write!(out, "{TRAINED}»{TRAINED:#}");
        }
        if example.truncated > 0 {
            let _ = write!(out, " ... {} tokens cut off", example.truncated);
        }
        out.push('\n');
    }
    out
}
