//! Which recording is meant.

/// A recording in the index. Stays the same while its file is there, and is never used for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingId(usize);

impl RecordingId {
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const LAST: Self = Self(usize::MAX);

    pub(crate) fn new(number: usize) -> Self {
        Self(number)
    }

    /// For tests.
    #[cfg(test)]
    pub(crate) fn number(self) -> usize {
        self.0
    }
}
