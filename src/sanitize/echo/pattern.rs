//! One thing that is looked for, and how much of it stands at the end of what came.

use memchr::memmem::Finder;

/// One spelling of a secret, or the beginning of a placeholder.
pub(super) struct Pattern {
    pub(super) bytes: Vec<u8>,
    pub(super) finder: Finder<'static>,
    /// Empty for the beginning of a placeholder.
    pub(super) rule: String,
    /// Whether it only counts where no letter or digit stands next to it.
    pub(super) is_word: bool,
    /// For each length of a prefix, the longest shorter prefix that is its suffix.
    /// `borders.len() == bytes.len() + 1`, `borders[n] < n` for `n > 0`
    pub(super) borders: Vec<usize>,
}

impl Pattern {
    pub(super) fn new(bytes: Vec<u8>, rule: String, is_word: bool) -> Self {
        let mut borders = vec![0; bytes.len() + 1];
        let mut matched = 0;
        for (index, byte) in bytes.iter().enumerate().skip(1) {
            matched = follow(&bytes, &borders, matched, *byte);
            if let Some(border) = borders.get_mut(index + 1) {
                *border = matched;
            }
        }
        Self {
            finder: Finder::new(&bytes).into_owned(),
            bytes,
            rule,
            is_word,
            borders,
        }
    }

    /// Whether it is a secret at the beginning of `rest`, where it is known to stand.
    pub(super) fn counts(&self, rest: &[u8], previous: Option<u8>) -> bool {
        if self.rule.is_empty() {
            return false;
        }
        let touches = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        !self.is_word || !(touches(previous.as_ref()) || touches(rest.get(self.bytes.len())))
    }
}

/// The longest prefix that is a suffix of what came, after one more byte. The Knuth–Morris–Pratt automaton.
pub(super) fn follow(bytes: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    loop {
        if bytes.get(matched) == Some(&byte) {
            return matched + 1;
        }
        if matched == 0 {
            return 0;
        }
        matched = borders.get(matched).copied().unwrap_or(0);
    }
}

// A secret must not get into a log by way of `{:?}`.
impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pattern")
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}
