//! Bytes that should be text in UTF-8, and what to do where they are not.

/// Why bytes are not text in UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUtf8 {
    /// What editors of Windows call "Unicode".
    #[error("it is UTF-16, expected UTF-8; save it as UTF-8")]
    Utf16,
    /// Another encoding, or no text at all.
    #[error(
        "the byte 0x{byte:02x} on line {line}, column {column}, is not UTF-8; save it as UTF-8"
    )]
    Byte {
        /// The first byte that can't be read.
        byte: u8,
        /// Of that byte, from 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
}

/// The text that bytes are. UTF-16 is told by its mark, or by first characters that are of ASCII.
///
/// # Errors
/// Why they are none.
pub fn utf8(bytes: &[u8]) -> Result<&str, NotUtf8> {
    if let [0xff, 0xfe, ..]
    | [0xfe, 0xff, ..]
    | [0, 9..=0x7e, 0, 9..=0x7e, ..]
    | [9..=0x7e, 0, 9..=0x7e, 0, ..] = bytes
    {
        return Err(NotUtf8::Utf16);
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        let before = String::from_utf8_lossy(valid);
        let last = before.rsplit('\n').next().unwrap_or_default();
        NotUtf8::Byte {
            byte: rest.first().copied().unwrap_or_default(),
            line: 1 + before.matches('\n').count(),
            column: 1 + last.chars().count(),
        }
    })
}

/// Without the mark of UTF-8 that some editors put before a text, and that is none of it.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_told_by_its_kind() {
        let in_utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(bytes).collect()
        };
        for bytes in [
            in_utf16("\u{feff}seed", u16::to_le_bytes),
            in_utf16("\u{feff}seed", u16::to_be_bytes),
            in_utf16("seed", u16::to_le_bytes),
            in_utf16("seed", u16::to_be_bytes),
        ] {
            assert_eq!(utf8(&bytes), Err(NotUtf8::Utf16), "{bytes:?}");
        }
        let latin = NotUtf8::Byte {
            byte: 0xe9,
            line: 2,
            column: 3,
        };
        let bytes = ["a\né ".as_bytes(), b"\xe9 b"].concat();
        assert_eq!(utf8(&bytes), Err(latin));
        assert_eq!(
            latin.to_string(),
            "the byte 0xe9 on line 2, column 3, is not UTF-8; save it as UTF-8"
        );
        for text in ["", "a", "é", "\u{feff}a", "\0"] {
            assert_eq!(utf8(text.as_bytes()), Ok(text));
        }
        assert_eq!(without_mark("\u{feff}a".as_bytes()), b"a");
    }
}
