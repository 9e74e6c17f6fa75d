//! Exact match and F1 of extractive answers, as SQuAD's evaluation scripts count them
//! (`evaluate-v1.1.py`, `evaluate-v2.0.py`; Rajpurkar et al., 2016 and 2018).

use std::collections::HashMap;

/// The two scripts differ where an answer is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquadVersion {
    /// Every question has an answer.
    V1,
    /// A question may have none: its reference is the empty text, and an empty prediction is right.
    V2,
}

/// One prediction's scores, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct SquadScore {
    /// 1 where the normalized texts are equal.
    pub exact: f64,
    /// F1 of the normalized texts' words.
    pub f1: f64,
}

/// An answer in lower case, without ASCII punctuation, without the words a, an and the, words one space apart.
pub fn normalize_answer(text: &str) -> String {
    let lower: String = text
        .to_lowercase()
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    // An article is a word between any other characters than letters, digits and underscores.
    let mut kept = String::with_capacity(lower.len());
    let mut word = String::new();
    for character in lower.chars().chain([' ']) {
        if character.is_alphanumeric() || character == '_' {
            word.push(character);
            continue;
        }
        kept.push_str(if matches!(word.as_str(), "a" | "an" | "the") {
            " "
        } else {
            &word
        });
        kept.push(character);
        word.clear();
    }
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The best scores of `prediction` over all reference `answers`. In version 2, references that are empty when
/// normalized are left out, and no reference stands for no answer.
pub fn squad(version: SquadVersion, prediction: &str, answers: &[&str]) -> SquadScore {
    let prediction = normalize_answer(prediction);
    let mut answers: Vec<String> = answers.iter().map(|answer| normalize_answer(answer)).collect();
    if version == SquadVersion::V2 {
        answers.retain(|answer| !answer.is_empty());
        if answers.is_empty() {
            answers.push(String::new());
        }
    }
    let mut best = SquadScore::default();
    for answer in &answers {
        let equal = f64::from(u8::from(prediction == *answer));
        let neither = version == SquadVersion::V2 && (prediction.is_empty() || answer.is_empty());
        let f1 = if neither {
            equal
        } else {
            word_f1(&prediction, answer)
        };
        best = SquadScore {
            exact: best.exact.max(equal),
            f1: best.f1.max(f1),
        };
    }
    best
}

fn word_f1(prediction: &str, answer: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in answer.split(' ') {
        *left.entry(word).or_default() += 1;
    }
    let mut same = 0;
    for word in prediction.split(' ') {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            same += usize::from(!word.is_empty());
        }
    }
    if same == 0 {
        return 0.0;
    }
    let precision = same as f64 / prediction.split(' ').count() as f64;
    let recall = same as f64 / answer.split(' ').count() as f64;
    2.0 * precision * recall / (precision + recall)
}
