//! Shortens a list of code lengths by telling runs, RFC 1951, section 3.2.7, as zlib cuts them.

use super::symbol::Name;

/// The list in the alphabet of code lengths.
pub(super) fn runs(lengths: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    for run in lengths.chunk_by(|left, right| left == right) {
        match *run {
            [0, ..] => zeros(run.len(), &mut names),
            [length, ..] => same(length, run.len(), &mut names),
            [] => {}
        }
    }
    names
}

fn zeros(count: usize, names: &mut Vec<Name>) {
    for group in groups(count, 138) {
        match group {
            0..3 => names.extend(std::iter::repeat_n(plain(0), group)),
            3..=10 => names.push(run(17, group - 3, 3)),
            _ => names.push(run(18, group - 11, 7)),
        }
    }
}

fn same(length: u8, count: usize, names: &mut Vec<Name>) {
    // A run is of the length before it, so the first group has one more that is told itself.
    let first = count.min(7);
    if first < 4 {
        names.extend(std::iter::repeat_n(plain(length), first));
    } else {
        names.push(plain(length));
        names.push(run(16, first - 4, 2));
    }
    for group in groups(count - first, 6) {
        if group < 3 {
            names.extend(std::iter::repeat_n(plain(length), group));
        } else {
            names.push(run(16, group - 3, 2));
        }
    }
}

/// As many as fit at a time, then the rest.
fn groups(count: usize, most: usize) -> impl Iterator<Item = usize> {
    (0..count)
        .step_by(most)
        .map(move |done| most.min(count - done))
}

fn plain(length: u8) -> Name {
    Name {
        letter: length.into(),
        extra: 0,
        width: 0,
    }
}

fn run(letter: u16, more: usize, width: u32) -> Name {
    Name {
        letter,
        extra: u16::try_from(more).expect("a group has 138 at most"),
        width,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(length: u8, count: usize, expected: &[(u16, u16)]) {
        let names = runs(&vec![length; count]);
        let names: Vec<(u16, u16)> = names.iter().map(|name| (name.letter, name.extra)).collect();
        assert_eq!(names, expected, "{count} times {length}");
    }

    #[test]
    fn zeros_are_told_in_runs_of_three_and_more() {
        check(0, 2, &[(0, 0), (0, 0)]);
        check(0, 3, &[(17, 0)]);
        check(0, 10, &[(17, 7)]);
        check(0, 11, &[(18, 0)]);
        check(0, 140, &[(18, 127), (0, 0), (0, 0)]);
        check(0, 141, &[(18, 127), (17, 0)]);
    }

    #[test]
    fn other_lengths_are_told_once_and_then_in_runs() {
        check(5, 3, &[(5, 0), (5, 0), (5, 0)]);
        check(5, 4, &[(5, 0), (16, 0)]);
        check(5, 7, &[(5, 0), (16, 3)]);
        check(5, 9, &[(5, 0), (16, 3), (5, 0), (5, 0)]);
        check(5, 10, &[(5, 0), (16, 3), (16, 0)]);
        check(5, 14, &[(5, 0), (16, 3), (16, 3), (5, 0)]);
    }

    #[test]
    fn a_run_ends_where_another_length_begins() {
        let names = runs(&[0, 0, 0, 4, 4, 4, 4, 0]);
        let letters: Vec<u16> = names.iter().map(|name| name.letter).collect();
        assert_eq!(letters, [17, 4, 16, 0]);
    }
}
