//! Where words and sentences end, in text that comes in any pieces.

/// What a chunk is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A word. The blank before a word is its own, as in the tokens of models.
    Word,
    /// A sentence: up to `.`, `!`, `?` or `…` before a blank, to their full-width forms, or to the end of a line. `Dr. No` is two.
    Sentence,
}

/// Finds the ends, character by character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    unit: Unit,
    /// Whether there is something that is not blank since the last end.
    has_text: bool,
    /// Whether the last character was blank.
    is_blank: bool,
    /// Whether the sentence is over, if a blank follows.
    is_closed: bool,
}

/// Where an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Before,
    After,
}

impl Ends {
    pub(super) fn new(unit: Unit) -> Self {
        Self {
            unit,
            has_text: false,
            is_blank: false,
            is_closed: false,
        }
    }

    /// Whether something ends before or after the next character.
    pub(super) fn step(&mut self, char: char) -> Option<End> {
        let is_blank = char.is_whitespace();
        let end = match self.unit {
            Unit::Word if is_blank && self.has_text && !self.is_blank => Some(End::Before),
            Unit::Word if is_own_word(char) => Some(End::After),
            Unit::Sentence if char == '\n' && self.has_text => Some(End::After),
            Unit::Sentence if is_blank && self.is_closed => Some(End::Before),
            Unit::Sentence if matches!(char, '。' | '！' | '？') => Some(End::After),
            Unit::Word | Unit::Sentence => None,
        };
        self.is_closed = match char {
            '.' | '!' | '?' | '…' => true,
            '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '*' => self.is_closed,
            _ => false,
        };
        self.is_blank = is_blank;
        self.has_text = match end {
            Some(End::After) => false,
            Some(End::Before) => !is_blank,
            None => self.has_text || !is_blank,
        };
        end
    }

    /// What was before is written.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.unit);
    }
}

/// Whether the character stands for itself, in scripts that write no blanks: Chinese and Japanese.
fn is_own_word(char: char) -> bool {
    matches!(char,
        '\u{3001}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff1f}' | '\u{20000}'..='\u{323af}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: Unit, text: &str, expected: &[&str]) {
        let mut ends = Ends::new(unit);
        let mut parts = vec![String::new()];
        for char in text.chars() {
            let end = ends.step(char);
            if end == Some(End::Before) {
                parts.push(String::new());
            }
            parts.last_mut().unwrap().push(char);
            if end == Some(End::After) {
                parts.push(String::new());
            }
        }
        parts.retain(|part| !part.is_empty());
        assert_eq!(parts, expected, "{unit:?}");
    }

    #[test]
    fn words_begin_with_their_blank() {
        check(
            Unit::Word,
            "One two,  three\n",
            &["One", " two,", "  three", "\n"],
        );
        check(Unit::Word, " — 🙂 ok", &[" —", " 🙂", " ok"]);
        check(Unit::Word, "你好 ok", &["你", "好", " ok"]);
    }

    #[test]
    fn sentences_end_with_their_marks() {
        check(
            Unit::Sentence,
            "One is 3.14. “Two?” (Three…) Four\nfive",
            &["One is 3.14.", " “Two?”", " (Three…)", " Four\n", "five"],
        );
        check(Unit::Sentence, "你好。好！", &["你好。", "好！"]);
        check(Unit::Sentence, "A.\n\nB", &["A.\n", "\nB"]);
    }
}
