//! GLUE's own TSV files (Wang et al., 2018): SST-2 and MNLI. Their fields are not quoted: a quote is a character.

use super::task::{Case, Task, TaskError};

/// A GLUE task: how a row becomes a prompt, and what its labels are called.
struct Glue {
    /// The columns that tell it.
    columns: &'static [&'static str],
    /// The prompt, each column's text before the next piece: `[before, after, after]`.
    prompt: &'static [&'static str],
    label: &'static str,
    /// The label as the file has it, and its word.
    words: &'static [(&'static str, &'static str)],
}

const GLUE: [Glue; 2] = [
    Glue {
        columns: &["sentence"],
        prompt: &["Review: ", "\nSentiment:"],
        label: "label",
        words: &[("0", " negative"), ("1", " positive")],
    },
    Glue {
        columns: &["sentence1", "sentence2"],
        prompt: &["Premise: ", "\nHypothesis: ", "\nRelation:"],
        label: "gold_label",
        words: &[
            ("entailment", " entailment"),
            ("neutral", " neutral"),
            ("contradiction", " contradiction"),
        ],
    },
];

/// The task of a GLUE file's text, or None where the header is none of a GLUE task. `words` replaces the words of the
/// labels. Rows without agreement (`-`) are left out.
pub(super) fn task(file: &str, text: &str, words: Option<&[String]>) -> Option<Result<Task, TaskError>> {
    let mut lines = text.trim_start_matches('\u{FEFF}').lines();
    let header: Vec<&str> = lines.next()?.split('\t').collect();
    let place = |name: &str| header.iter().position(|column| *column == name);
    let glue = GLUE
        .iter()
        .rfind(|glue| glue.columns.iter().all(|column| place(column).is_some()))?;
    let columns: Vec<usize> = glue.columns.iter().filter_map(|column| place(column)).collect();
    let Some(label) = place(glue.label) else {
        let what = format!(
            "{file}:1: expected a column `{}`, found {}; a test set without labels can't be scored",
            glue.label,
            header.join(", ")
        );
        return Some(Err(TaskError::new(vec![what])));
    };
    if let Some(words) = words.filter(|words| words.len() != glue.words.len()) {
        let what = format!(
            "--labels: expected {} words, for {}, found {}",
            glue.words.len(),
            glue.words
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", "),
            words.len()
        );
        return Some(Err(TaskError::new(vec![what])));
    }
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for (index, row) in lines.enumerate().filter(|(_, row)| !row.is_empty()) {
        let line = index as u64 + 2;
        let fields: Vec<&str> = row.split('\t').collect();
        if fields.len() != header.len() {
            problems.push(format!(
                "{file}:{line}: expected {} columns, found {}",
                header.len(),
                fields.len()
            ));
            continue;
        }
        let found = fields[label];
        if found == "-" {
            continue;
        }
        let Some(truth) = glue.words.iter().position(|(name, _)| *name == found) else {
            let names: Vec<&str> = glue.words.iter().map(|(name, _)| *name).collect();
            problems.push(format!(
                "{file}:{line}: `{}`: expected one of {}, found {found:?}",
                glue.label,
                names.join(", ")
            ));
            continue;
        };
        let mut prompt = glue.prompt[0].to_owned();
        for (column, after) in columns.iter().zip(&glue.prompt[1..]) {
            prompt.push_str(fields[*column].trim());
            prompt.push_str(after);
        }
        cases.push(Case { prompt, truth });
    }
    let words = match words {
        Some(words) => words.to_vec(),
        None => glue.words.iter().map(|(_, word)| (*word).to_owned()).collect(),
    };
    Some(Task::new(file, words, cases, problems))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sst2_is_read_with_quotes_as_characters() {
        let text = "sentence\tlabel\r\n\"a gem\t1\r\nit 's slow . \t0\r\n";
        let task = task("dev.tsv", text, None).unwrap().unwrap();
        assert_eq!(task.words, [" negative", " positive"]);
        assert_eq!(task.cases[0].prompt, "Review: \"a gem\nSentiment:");
        assert_eq!(task.cases[1].prompt, "Review: it 's slow .\nSentiment:");
        assert_eq!([task.cases[0].truth, task.cases[1].truth], [1, 0]);
    }

    #[test]
    fn mnli_finds_its_columns_and_leaves_out_what_has_no_label() {
        let text = "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label\n\
                    0\tfiction\tHe ran.\tHe moved.\tentailment\tentailment\n\
                    1\tfiction\tHe ran.\tHe sat.\tneutral\t-\n\
                    2\tfiction\tHe ran.\tHe sat.\tneutral\tcontradiction\n";
        let task = task("dev_matched.tsv", text, None).unwrap().unwrap();
        assert_eq!(task.cases.len(), 2);
        assert_eq!(
            task.cases[0].prompt,
            "Premise: He ran.\nHypothesis: He moved.\nRelation:"
        );
        assert_eq!([task.cases[0].truth, task.cases[1].truth], [0, 2]);
    }

    #[test]
    fn what_is_wrong_is_listed_and_other_tables_are_left_to_others() {
        let error = task("dev.tsv", "sentence\tlabel\na\t2\nb\n", None)
            .unwrap()
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("dev.tsv:2") && error.contains("dev.tsv:3"),
            "{error}"
        );
        let error = task("test.tsv", "index\tsentence\n0\ta\n", None)
            .unwrap()
            .unwrap_err();
        assert!(error.to_string().contains("test set"), "{error}");
        assert!(task("a.tsv", "prompt\tcompletion\n", None).is_none());
        let words = ["a".to_owned()];
        assert!(
            task("dev.tsv", "sentence\tlabel\na\t1\n", Some(&words))
                .unwrap()
                .is_err()
        );
    }
}
