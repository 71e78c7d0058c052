//! Where characters end in bytes that may be UTF-8 or not.

/// How many bytes at the end are the beginning of a character whose rest is missing. 0..=3
pub fn unfinished(bytes: &[u8]) -> usize {
    let mut back = bytes.iter().rev().take(4).zip(1..);
    let Some((lead, length)) = back.find(|(byte, _)| !is_continuation(**byte)) else {
        return 0;
    };
    let wanted = match lead {
        0b1100_0000..=0b1101_1111 => 2,
        0b1110_0000..=0b1110_1111 => 3,
        0b1111_0000..=0b1111_0111 => 4,
        _ => 1,
    };
    if wanted > length { length } else { 0 }
}

/// Whether it is a further byte of a character.
pub fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_character_is_seen() {
        for (bytes, expected) in [
            (&b""[..], 0),
            (b"a", 0),
            ("é".as_bytes(), 0),
            (b"a\xc3", 1),
            ("🙂".as_bytes(), 0),
            (b"a\xf0\x9f\x99", 3),
            (b"\xe4\xbd", 2),
            (b"\x80\x80\x80\x80\x80", 0),
            (b"\xff\x80", 0),
        ] {
            assert_eq!(unfinished(bytes), expected, "{bytes:?}");
        }
    }
}
