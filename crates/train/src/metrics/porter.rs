//! The Porter stemmer (Porter, 1980, "An algorithm for suffix stripping") with the extensions that NLTK's has by
//! default, which rouge-score uses. Stemmers of other packages follow the paper or Snowball's English, and differ.

/// Words that the rules would take apart, and what they become.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const STEP_3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
];

/// The stem of a word of lower-case ASCII letters and digits.
pub fn porter_stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(known, _)| *known == word) {
        return (*stem).to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    let mut stem = plural(word);
    for step in [past, final_y, step_2, step_3, step_4, final_e, final_ll] {
        stem = step(&stem);
    }
    stem
}

/// One a byte: whether it is a consonant. A y after a consonant is a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        flags.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => !flags.last().copied().unwrap_or(false),
            _ => true,
        });
    }
    flags
}

/// How often a vowel is followed by a consonant: m of the paper.
fn measure(stem: &str) -> usize {
    let pairs = consonants(stem);
    pairs.windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_in_double_consonant(word: &str) -> bool {
    let letters = word.as_bytes();
    letters.len() >= 2
        && letters[letters.len() - 1] == letters[letters.len() - 2]
        && consonants(word).last() == Some(&true)
}

/// Consonant, vowel, consonant other than w, x, y; of two letters, vowel and consonant.
fn ends_short(word: &str) -> bool {
    match *consonants(word) {
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        [false, true] => true,
        _ => false,
    }
}

/// The first suffix that fits decides: it is replaced where `holds` says so of what is before it.
fn replace(word: &str, rules: &[(&str, &str)], holds: impl Fn(&str) -> bool) -> String {
    let found = rules
        .iter()
        .find_map(|(suffix, by)| Some((word.strip_suffix(suffix)?, by)));
    match found {
        Some((stem, by)) if holds(stem) => format!("{stem}{by}"),
        _ => word.to_owned(),
    }
}

/// Step 1a.
fn plural(word: &str) -> String {
    if word.len() == 4 && word.ends_with("ies") {
        return word[..3].to_owned();
    }
    replace(
        word,
        &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")],
        |_| true,
    )
}

/// Step 1b.
fn past(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if word.len() == 4 { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 {
            format!("{stem}ee")
        } else {
            word.to_owned()
        };
    }
    let cut = ["ed", "ing"]
        .iter()
        .find_map(|suffix| word.strip_suffix(suffix).filter(|stem| has_vowel(stem)));
    let Some(stem) = cut else { return word.to_owned() };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return format!("{stem}e");
    }
    if ends_in_double_consonant(stem) {
        let keeps = stem.ends_with(['l', 's', 'z']);
        return stem[..stem.len() - usize::from(!keeps)].to_owned();
    }
    if measure(stem) == 1 && ends_short(stem) {
        return format!("{stem}e");
    }
    stem.to_owned()
}

/// Step 1c.
fn final_y(word: &str) -> String {
    replace(word, &[("y", "i")], |stem| {
        stem.len() > 1 && consonants(stem).last() == Some(&true)
    })
}

fn step_2(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| measure(stem) > 0) {
        return step_2(&format!("{stem}al"));
    }
    if STEP_2.iter().any(|(suffix, _)| word.ends_with(suffix)) {
        return replace(word, &STEP_2, |stem| measure(stem) > 0);
    }
    // The l of logi counts with the stem, so that geology is like archaeology.
    match word.strip_suffix("ogi") {
        Some(stem) if stem.ends_with('l') && measure(stem) > 0 => format!("{stem}og"),
        _ => word.to_owned(),
    }
}

fn step_3(word: &str) -> String {
    replace(word, &STEP_3, |stem| measure(stem) > 0)
}

fn step_4(word: &str) -> String {
    let Some((suffix, stem)) = STEP_4
        .iter()
        .find_map(|suffix| Some((*suffix, word.strip_suffix(suffix)?)))
    else {
        return word.to_owned();
    };
    let holds = measure(stem) > 1 && (suffix != "ion" || stem.ends_with(['s', 't']));
    if holds { stem } else { word }.to_owned()
}

/// Step 5a.
fn final_e(word: &str) -> String {
    match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 || (measure(stem) == 1 && !ends_short(stem)) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

/// Step 5b.
fn final_ll(word: &str) -> String {
    match word.strip_suffix('l') {
        Some(stem) if word.ends_with("ll") && measure(stem) > 1 => stem.to_owned(),
        _ => word.to_owned(),
    }
}
