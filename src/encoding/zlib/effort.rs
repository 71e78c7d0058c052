//! What a level of zlib stands for: how matches are chosen, and how long they are looked for.

/// How hard an encoder looks for matches.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    pub(super) way: Way,
    /// After a match of this length only a quarter of the candidates are tried.
    pub(super) good: usize,
    /// A match of this length ends the search.
    pub(super) nice: usize,
    /// How many candidates are tried.
    pub(super) tries: usize,
}

/// How a match is chosen.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// The first one is taken.
    Greedy {
        /// Of a longer match than this the strings inside it are left out of the chains.
        longest_chained: usize,
    },
    /// One is taken if none that is longer begins a byte later.
    Lazy {
        /// After a match of this length no longer one is looked for.
        satisfied: usize,
    },
}

impl Effort {
    /// Of a level from 1 to 9; other numbers count as the nearest.
    pub(super) const fn of(level: u8) -> Self {
        match level {
            0 | 1 => greedy(4, 8, 4),
            2 => greedy(5, 16, 8),
            3 => greedy(6, 32, 32),
            4 => lazy(4, 4, 16, 16),
            5 => lazy(16, 8, 32, 32),
            6 => lazy(16, 8, 128, 128),
            7 => lazy(32, 8, 128, 256),
            8 => lazy(128, 32, 258, 1024),
            9.. => lazy(258, 32, 258, 4096),
        }
    }
}

const fn greedy(longest_chained: usize, nice: usize, tries: usize) -> Effort {
    Effort {
        way: Way::Greedy { longest_chained },
        // No match comes before another that is looked for, so this is never reached.
        good: usize::MAX,
        nice,
        tries,
    }
}

const fn lazy(satisfied: usize, good: usize, nice: usize, tries: usize) -> Effort {
    Effort {
        way: Way::Lazy { satisfied },
        good,
        nice,
        tries,
    }
}
