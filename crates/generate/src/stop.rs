//! Stop strings in a text that comes in pieces.

/// Lets text through up to the first of some strings. What may be the beginning of one is held back.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
}

impl StopStrings {
    /// Empty strings are left out: they would stop every text.
    pub fn new(strings: impl IntoIterator<Item = String>) -> Self {
        Self {
            strings: strings.into_iter().filter(|string| !string.is_empty()).collect(),
            held: String::new(),
        }
    }

    /// Takes the next piece; gives what may go out, and whether a stop string ends it.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let first = self.strings.iter().filter_map(|stop| self.held.find(stop)).min();
        if let Some(end) = first {
            let mut out = std::mem::take(&mut self.held);
            out.truncate(end);
            return (out, true);
        }
        let starts = self.held.char_indices().map(|(at, _)| at);
        let keep = starts
            .filter(|&at| self.strings.iter().any(|stop| stop.starts_with(&self.held[at..])))
            .min()
            .unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, once the text has ended.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_across_pieces_and_holds_back_beginnings() {
        let mut stop = StopStrings::new(["User:".to_owned(), "\n\n".to_owned(), String::new()]);
        assert_eq!(stop.push("Paris.\n"), ("Paris.".to_owned(), false));
        assert_eq!(stop.push("Us"), ("\n".to_owned(), false));
        assert_eq!(stop.push("eful é"), ("Useful é".to_owned(), false));
        assert_eq!(stop.push("Use"), (String::new(), false));
        assert_eq!(stop.push("r: hi\n\n"), (String::new(), true));
        let mut stop = StopStrings::new(["User:".to_owned()]);
        assert_eq!(stop.push("to U"), ("to ".to_owned(), false));
        assert_eq!(stop.finish(), "U");
    }

    #[test]
    fn the_earliest_of_several_wins() {
        let mut stop = StopStrings::new(["b".to_owned(), "ab".to_owned()]);
        assert_eq!(stop.push("xab"), ("x".to_owned(), true));
    }
}
