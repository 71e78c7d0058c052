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

    /// Ends them before the first of these texts. Whether there was one.
    pub(super) fn end_before(&mut self, stops: &[String]) -> bool {
        if stops.is_empty() {
            return false;
        }
        let text = self.text();
        let Some(mut left) = stops.iter().filter_map(|stop| text.find(stop)).min() else {
            return false;
        };
        let mut said = Vec::new();
        for word in (0..self.len()).filter_map(|index| self.get(index)) {
            let kept = left.min(word.len());
            said.extend(
                word.get(..kept)
                    .filter(|kept| !kept.is_empty())
                    .map(str::to_owned),
            );
            left -= kept;
        }
        *self = Self { said, more: 0 };
        true
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
