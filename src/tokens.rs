//! Counts and parts text as a model's tokenizer does. The vocabulary is in the binary; nothing is fetched.
//!
//! One vocabulary for all (`o200k_base`): what counts here is where a stream is cut, not what a call costs. It is made
//! once, at its first use, which takes some tenths of a second; who knows that it will be wanted calls [`warm`] before.

use tiktoken_rs::o200k_base_singleton;

/// Makes the vocabulary ready, so that the first use need not wait for it.
pub fn warm() {
    o200k_base_singleton();
}

/// How many tokens a text has.
pub fn count(text: &str) -> usize {
    pieces(text)
        .map(|piece| o200k_base_singleton().encode_ordinary(piece).len())
        .sum()
}

/// Where in a text a token ends and the next begins, in bytes, ascending, with the end of the text as the last one. Only
/// places between two characters: tokens that end inside a character are taken together.
pub fn ends(text: &str) -> Vec<usize> {
    let vocabulary = o200k_base_singleton();
    let mut ends = Vec::new();
    let mut at = 0;
    for piece in pieces(text) {
        let end = at + piece.len();
        for token in vocabulary.encode_ordinary(piece) {
            // A token that was just made from the vocabulary is in it.
            at += vocabulary
                .decode_bytes(&[token])
                .map_or(0, |bytes| bytes.len());
            if text.is_char_boundary(at) {
                ends.push(at);
            }
        }
        at = end;
    }
    ends
}

/// The text in pieces of a bounded length.
///
/// The tokenizer tracks back within what it is given and gives up, by a panic, when that takes too long; in this length it
/// can't. At a seam one token may become two.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let mut end = text.len().min(PIECE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, rest) = text.split_at(end);
        text = rest;
        Some(piece)
    })
}

/// In bytes; longer than any token.
const PIECE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_counted_as_the_tokenizer_does() {
        for (text, expected) in [
            ("", 0),
            ("hello", 1),
            ("hello world", 2),
            ("Hello, world!", 4),
        ] {
            assert_eq!(count(text), expected, "{text:?}");
        }
    }

    #[test]
    fn token_ends_fall_between_characters_and_reach_the_end() {
        for text in ["Grüße, 你好 👋🏽!", "𓀀𓀁", " \n\t ", "a"] {
            let ends = ends(text);
            assert_eq!(ends.last(), Some(&text.len()), "{text:?}");
            assert!(ends.is_sorted(), "{text:?}");
            assert!(ends.iter().all(|&end| text.is_char_boundary(end)));
        }
        assert!(ends("").is_empty());
    }

    #[test]
    fn long_and_hostile_texts_are_counted_too() {
        for text in [
            " ".repeat(300_000),
            "a".repeat(100_000),
            "\u{300}".repeat(50_000),
            "\n ".repeat(100_000),
        ] {
            assert!(count(&text) > 0);
            assert_eq!(ends(&text).last(), Some(&text.len()));
        }
    }
}
