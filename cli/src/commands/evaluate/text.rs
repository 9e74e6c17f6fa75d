//! Evaluations for people.

use std::fmt::Write;

use anylora_train::evaluation::{Classification, GenerationScores, Perplexity, QaScores};

/// `name value (95 % interval low to high)`
fn line(name: &str, value: f64, [low, high]: [f64; 2], level: f64) -> String {
    let level = 100.0 * level;
    format!("{name} {value:.4} ({level:.0} % interval {low:.4} to {high:.4})\n")
}

fn truncated(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        _ => format!("{count} {what} to --max-length\n"),
    }
}

/// A perplexity.
pub fn perplexity(found: &Perplexity) -> String {
    let [low, high] = found.intervals.perplexity;
    format!(
        "perplexity {:.4} (mean negative log-likelihood {:.4} over {} tokens; {:.0} % interval {low:.4} to {high:.4})\n",
        found.perplexity,
        found.nll,
        found.tokens,
        100.0 * found.intervals.level,
    )
}

/// Answers to questions.
pub fn qa(found: &QaScores) -> String {
    let level = found.intervals.level;
    let mut text = format!(
        "{} questions, scored as SQuAD {}\n",
        found.examples, found.squad_version
    );
    text += &line(
        "exact match",
        found.exact_match,
        found.intervals.exact_match,
        level,
    );
    text += &line("F1", found.f1, found.intervals.f1, level);
    for (name, part) in [
        ("with an answer", found.answerable),
        ("without", found.unanswerable),
    ] {
        if let Some(part) = part {
            // Writing to a String can't fail; so below.
            let _ = writeln!(
                text,
                "{} {name}: exact match {:.4}, F1 {:.4}",
                part.examples, part.exact_match, part.f1
            );
        }
    }
    text + &truncated(found.truncated, "passages lost their end")
}

/// Texts against references.
pub fn generation(found: &GenerationScores) -> String {
    let intervals = &found.intervals;
    let mut text = format!("{} examples\n", found.examples);
    for (name, value, interval) in [
        ("ROUGE-1", found.rouge1, intervals.rouge1),
        ("ROUGE-2", found.rouge2, intervals.rouge2),
        ("ROUGE-L", found.rouge_l, intervals.rouge_l),
        ("exact match", found.exact_match, intervals.exact_match),
    ] {
        text += &line(name, value, interval, intervals.level);
    }
    if let (Some(rate), Some(interval)) = (found.pass_rate, intervals.pass_rate) {
        text += &line("passed", rate, interval, intervals.level);
    }
    text + &truncated(found.truncated, "prompts were shortened")
}

/// A classification.
pub fn classification(found: &Classification) -> String {
    let level = found.intervals.level;
    let mut text = format!("{} examples\n", found.examples);
    text += &line("accuracy", found.accuracy, found.intervals.accuracy, level);
    text += &line("macro F1", found.macro_f1, found.intervals.macro_f1, level);
    text += &truncated(found.truncated, "examples lost their beginning");
    let words: Vec<&str> = found.labels.iter().map(|word| word.trim()).collect();
    let width = words
        .iter()
        .map(|word| word.chars().count())
        .max()
        .unwrap_or(0)
        .max(6)
        + 2;
    let _ = write!(text, "\nrows true, columns predicted\n{:width$}", "");
    for word in &words {
        let _ = write!(text, "{word:>width$}");
    }
    text.push('\n');
    for (word, row) in words.iter().zip(&found.confusion) {
        let _ = write!(text, "{word:width$}");
        for count in row {
            let _ = write!(text, "{count:>width$}");
        }
        text.push('\n');
    }
    text
}
