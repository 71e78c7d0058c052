//! "Did you mean": the known name nearest to one that is not known.

/// The candidate that is so near to `word` that a slip of the fingers explains it.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = plain(word);
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The case and the kind of the dash are the slips that cost nothing. The beginning is enough: no name is longer.
fn plain(text: &str) -> Vec<char> {
    text.chars()
        .take(64)
        .map(|char| match char {
            '-' | ' ' => '_',
            _ => char.to_ascii_lowercase(),
        })
        .collect()
}

/// How many letters were put in, left out, mixed up or swapped with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_explained_and_a_stranger_is_not() {
        let known = ["upstream", "mode", "on_miss", "name"];
        for (word, expected) in [
            ("upstreem", Some("upstream")),
            ("usptream", Some("upstream")),
            ("on-miss", Some("on_miss")),
            ("onmiss", Some("on_miss")),
            ("Mode", Some("mode")),
            ("modes", Some("mode")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
