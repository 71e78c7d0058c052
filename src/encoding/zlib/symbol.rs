//! What a stream is made of, literals and matches, and their names in the alphabets of RFC 1951, section 3.2.5.

/// One step of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Literal(u8),
    Match(Match),
}

/// A string that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// 3 to 258 bytes.
    pub(super) length: u16,
    /// 1 to 32,768 bytes back.
    pub(super) distance: u16,
}

/// A letter of an alphabet, and the bits that tell what the letter leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) letter: u16,
    pub(super) extra: u16,
    /// How many bits `extra` has.
    pub(super) width: u32,
}

impl Symbol {
    /// How many bytes it stands for.
    pub(super) fn span(self) -> usize {
        match self {
            Self::Literal(_) => 1,
            Self::Match(found) => usize::from(found.length),
        }
    }
}

impl Match {
    /// In the alphabet of literals and lengths.
    pub(super) fn length_name(self) -> Name {
        if self.length == LONGEST {
            return Name {
                letter: LETTERS - 1,
                extra: 0,
                width: 0,
            };
        }
        let name = steps(self.length - SHORTEST, 2);
        Name {
            letter: name.letter + END + 1,
            ..name
        }
    }

    /// In the alphabet of distances.
    pub(super) fn distance_name(self) -> Name {
        steps(self.distance - 1, 1)
    }
}

/// The letters of both alphabets stand closest for small values; then each power of two has as many letters as the one before,
/// here two to the power of `fineness`, each for twice as many values.
fn steps(value: u16, fineness: u32) -> Name {
    let Some(width) = value
        .checked_ilog2()
        .and_then(|log| log.checked_sub(fineness))
    else {
        return Name {
            letter: value,
            extra: 0,
            width: 0,
        };
    };
    let leading = value >> width;
    Name {
        letter: leading + (u16::try_from(width).unwrap_or_default() << fineness),
        extra: value - (leading << width),
        width,
    }
}

/// The shortest match that has a name.
pub(super) const SHORTEST: u16 = 3;

/// The longest one.
pub(super) const LONGEST: u16 = 258;

/// The letter that ends a block, after all literals and before all lengths.
pub(super) const END: u16 = 256;

/// How many letters literals and lengths have.
pub(super) const LETTERS: u16 = 286;

/// How many letters distances have.
pub(super) const DISTANCE_LETTERS: u16 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_tables_of_the_rfc() {
        let length = |length| {
            Match {
                length,
                distance: 1,
            }
            .length_name()
        };
        for (value, letter, extra, width) in [
            (3, 257, 0, 0),
            (10, 264, 0, 0),
            (11, 265, 0, 1),
            (12, 265, 1, 1),
            (18, 268, 1, 1),
            (19, 269, 0, 2),
            (66, 276, 7, 3),
            (67, 277, 0, 4),
            (130, 280, 15, 4),
            (131, 281, 0, 5),
            (257, 284, 30, 5),
            (258, 285, 0, 0),
        ] {
            let expected = Name {
                letter,
                extra,
                width,
            };
            assert_eq!(length(value), expected, "length {value}");
        }
        let distance = |distance| {
            Match {
                length: 3,
                distance,
            }
            .distance_name()
        };
        for (value, letter, extra, width) in [
            (1, 0, 0, 0),
            (4, 3, 0, 0),
            (5, 4, 0, 1),
            (8, 5, 1, 1),
            (9, 6, 0, 2),
            (192, 14, 63, 6),
            (193, 15, 0, 6),
            (24_577, 29, 0, 13),
            (32_768, 29, 8191, 13),
        ] {
            let expected = Name {
                letter,
                extra,
                width,
            };
            assert_eq!(distance(value), expected, "distance {value}");
        }
    }
}
