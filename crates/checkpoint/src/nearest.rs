//! The name that was probably meant.

/// The candidate with the longest common start and end with `name`, if they share at least half of it.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let shared = |candidate: &str| {
        let same = |(a, b): &(u8, u8)| a == b;
        let start = name.bytes().zip(candidate.bytes()).take_while(same).count();
        let end = name
            .bytes()
            .rev()
            .zip(candidate.bytes().rev())
            .take_while(same)
            .count();
        (start + end).min(name.len()).min(candidate.len())
    };
    let (score, candidate) = candidates
        .map(|candidate| (shared(candidate), candidate))
        .max_by_key(|(score, candidate)| (*score, std::cmp::Reverse(candidate.len())))?;
    (2 * score >= name.len()).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_is_alike_and_nothing_else() {
        let names = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"];
        assert_eq!(
            nearest("model.norms.weight", names.into_iter()),
            Some("model.norm.weight")
        );
        assert_eq!(
            nearest("norm.weight", names.into_iter()),
            Some("model.norm.weight")
        );
        assert_eq!(nearest("xyz", names.into_iter()), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
