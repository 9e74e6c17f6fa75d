//! Metrics against their reference implementations (`fixtures/metrics/README.md` says how the cases were made).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use anylora_train::metrics::{
    Confusion, Rouge as Found, Score, SquadVersion, Stemming, bootstrap, normalize_answer, porter_stem,
    rouge, rouge_l, rouge_n, squad,
};

#[derive(serde::Deserialize)]
struct Cases {
    classification: Vec<Classification>,
    squad: Vec<Squad>,
    rouge: Vec<Rouge>,
}

#[derive(serde::Deserialize)]
struct Classification {
    classes: usize,
    #[serde(rename = "true")]
    truth: Vec<usize>,
    predicted: Vec<usize>,
    accuracy: f64,
    macro_f1: f64,
    confusion: Vec<Vec<usize>>,
}

#[derive(serde::Deserialize)]
struct Squad {
    prediction: String,
    answer: String,
    normalized: String,
    exact: f64,
    f1_v1: f64,
    f1_v2: f64,
}

#[derive(serde::Deserialize)]
struct Rouge {
    target: String,
    prediction: String,
    scores: BTreeMap<String, [f64; 3]>,
}

#[derive(serde::Deserialize)]
struct Stemmed {
    stems: BTreeMap<String, String>,
    rouge: Vec<StemmedRouge>,
}

#[derive(serde::Deserialize)]
struct StemmedRouge {
    target: String,
    prediction: String,
    stemmed: BTreeMap<String, [f64; 3]>,
    plain: BTreeMap<String, [f64; 3]>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("fixtures/metrics/cases.json")).unwrap()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() < 1e-12,
        "{what}: expected {expected}, found {found}"
    );
}

#[test]
fn classification_as_scikit_learn() {
    let cases = cases().classification;
    assert_eq!(cases.len(), 9);
    for case in cases {
        let pairs = case.truth.iter().copied().zip(case.predicted.iter().copied());
        let confusion = Confusion::new(case.classes, pairs).unwrap();
        assert_eq!(confusion.counts, case.confusion);
        assert_eq!(confusion.total(), case.truth.len());
        assert_close(confusion.accuracy(), case.accuracy, "accuracy");
        assert_close(confusion.macro_f1(), case.macro_f1, "macro F1");
    }
    assert_eq!(Confusion::new(2, [(0, 2)]), None);
    assert_close(Confusion::new(2, []).unwrap().macro_f1(), 0.0, "no examples");
}

#[test]
fn squad_as_its_scripts() {
    let cases = cases().squad;
    assert_eq!(cases.len(), 120);
    assert!(cases.iter().any(|case| case.f1_v1 != case.f1_v2));
    for case in cases {
        assert_eq!(
            normalize_answer(&case.prediction),
            case.normalized,
            "{}",
            case.prediction
        );
        let (v1, v2) = (
            squad(SquadVersion::V1, &case.prediction, &[&case.answer]),
            squad(SquadVersion::V2, &case.prediction, &[&case.answer]),
        );
        let place = format!("{:?} for {:?}", case.prediction, case.answer);
        assert_close(v1.exact, case.exact, &place);
        assert_close(v2.exact, case.exact, &place);
        assert_close(v1.f1, case.f1_v1, &place);
        assert_close(v2.f1, case.f1_v2, &place);
    }
    let best = squad(SquadVersion::V1, "the red cat", &["a dog", "red cat", "red"]);
    assert_close(best.exact + best.f1, 2.0, "the best answer counts");
    assert_close(squad(SquadVersion::V2, "", &[]).f1, 1.0, "no answer, rightly");
    assert_close(squad(SquadVersion::V2, "cat", &[]).f1, 0.0, "no answer, wrongly");
}

#[test]
fn rouge_as_rouge_score() {
    let cases = cases().rouge;
    assert_eq!(cases.len(), 120);
    for case in cases {
        for (name, expected) in &case.scores {
            let Score {
                precision,
                recall,
                f1,
            } = match name.as_str() {
                "rouge1" => rouge_n(&case.target, &case.prediction, 1),
                "rouge2" => rouge_n(&case.target, &case.prediction, 2),
                _ => rouge_l(&case.target, &case.prediction),
            };
            for (found, expected) in [precision, recall, f1].into_iter().zip(expected) {
                assert_close(
                    found,
                    *expected,
                    &format!("{name} {:?} {:?}", case.target, case.prediction),
                );
            }
        }
    }
}

#[test]
fn stems_and_stemmed_rouge_as_nltk_and_rouge_score() {
    let recorded: Stemmed = serde_json::from_str(include_str!("fixtures/metrics/stems.json")).unwrap();
    assert!(recorded.stems.len() > 4000);
    let wrong: Vec<_> = recorded
        .stems
        .iter()
        .filter(|(word, stem)| porter_stem(word) != **stem)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(recorded.rouge.iter().any(|case| case.stemmed != case.plain));
    for case in &recorded.rouge {
        for (stemming, expected) in [(Stemming::Porter, &case.stemmed), (Stemming::Off, &case.plain)] {
            let Found {
                rouge1,
                rouge2,
                rouge_l,
            } = rouge(&case.target, &case.prediction, stemming);
            for (name, found) in [("rouge1", rouge1), ("rouge2", rouge2), ("rougeL", rouge_l)] {
                let found = [found.precision, found.recall, found.f1];
                for (found, expected) in found.into_iter().zip(expected[name]) {
                    assert_close(
                        found,
                        expected,
                        &format!("{name} {:?} {:?}", case.target, case.prediction),
                    );
                }
            }
        }
    }
}

#[test]
fn a_bootstrap_interval_of_a_mean_is_as_wide_as_theory_says() {
    let scores: Vec<f64> = (0..400).map(|at| f64::from(at % 4 == 0)).collect();
    let mean = |drawn: &[usize]| drawn.iter().map(|&at| scores[at]).sum::<f64>() / drawn.len() as f64;
    let interval = bootstrap(scores.len(), 4000, 0.95, 7, mean);
    assert_close(interval.value, 0.25, "mean");
    let half = 1.96 * (0.25_f64 * 0.75 / 400.0).sqrt();
    for (found, expected) in [(interval.low, 0.25 - half), (interval.high, 0.25 + half)] {
        assert!(
            (found - expected).abs() < 0.1 * half,
            "expected {expected}, found {found}"
        );
    }
    assert_eq!(interval, bootstrap(scores.len(), 4000, 0.95, 7, mean));
    assert_ne!(interval, bootstrap(scores.len(), 4000, 0.95, 8, mean));
    let one = bootstrap(1, 10, 0.95, 7, |drawn| drawn[0] as f64 + 3.0);
    assert_eq!([one.value, one.low, one.high], [3.0; 3]);
}
