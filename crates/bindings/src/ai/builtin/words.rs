//! Words of a text, one after the other, without a copy of each.

/// How many words a text has.
pub(super) fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The words of a text that it owns. All but the first come with the space before them.
pub(super) struct Words {
    text: String,
    at: usize,
    left: usize,
    first: bool,
}

impl Words {
    /// The first `max` words.
    pub fn new(text: String, max: usize) -> Self {
        Self {
            text,
            at: 0,
            left: max,
            first: true,
        }
    }
}

impl Iterator for Words {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        let rest = &self.text[self.at..];
        let word = rest.split_whitespace().next()?;
        // Where the word ends in the text: it starts after the white space that was skipped.
        let start = rest.len() - rest.trim_start().len();
        self.at += start + word.len();
        let space = if std::mem::replace(&mut self.first, false) {
            ""
        } else {
            " "
        };
        Some(format!("{space}{word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_join_to_the_text_with_single_spaces() {
        let text = "  über\tdie\n\n 😀 \u{3000}Mauer ";
        assert_eq!(count(text), 4);
        let words: Vec<String> = Words::new(text.into(), usize::MAX).collect();
        assert_eq!(words, ["über", " die", " 😀", " Mauer"]);
        assert_eq!(Words::new(text.into(), 2).collect::<String>(), "über die");
        assert_eq!(Words::new(text.into(), 0).count(), 0);
        assert_eq!(Words::new(" \n".into(), 5).count(), 0);
    }
}
