//! The words of a made-up answer, drawn out to any length.

/// Words that were thought of, and more of the same as often as is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    said: Vec<String>,
    /// How many follow those.
    more: usize,
}

impl Words {
    /// These words, drawn out to `least` or broken off after `most`.
    pub(super) fn new(mut said: Vec<String>, least: usize, most: usize) -> Self {
        said.truncate(most);
        let more = least.min(most).saturating_sub(said.len());
        Self { said, more }
    }

    pub(super) fn len(&self) -> usize {
        self.said.len() + self.more
    }

    /// A word, with the space before it; `None` behind the last.
    pub(super) fn get(&self, index: usize) -> Option<&str> {
        match self.said.get(index) {
            Some(word) => Some(word),
            None if index < self.len() => {
                let turn = (index - self.said.len()) % FILLER.len();
                FILLER.get(turn).copied()
            }
            None => None,
        }
    }

    /// All of them as one text.
    pub(super) fn text(&self) -> String {
        (0..self.len())
            .filter_map(|index| self.get(index))
            .collect()
    }
}

/// What an answer is drawn out with.
const FILLER: [&str; 8] = [
    " And", " so", " it", " goes", " on,", " word", " by", " word.",
];
