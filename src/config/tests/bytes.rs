//! Files that are no text in UTF-8.

use super::*;

fn load(bytes: &[u8]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rehearsal.toml");
    std::fs::write(&path, bytes).unwrap();
    let folder = format!("{}/", dir.path().display());
    Config::load(&path).map_err(|errors| errors.to_string().replace(&folder, ""))
}

#[test]
fn utf16_is_told_and_what_to_do_about_it() {
    let text = "\u{feff}seed = 7\n";
    let little: Vec<_> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<_> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [&*little, &big, &little[2..], &big[2..]] {
        assert_eq!(
            load(bytes).unwrap_err(),
            "rehearsal.toml: can't read the configuration: it is UTF-16, expected UTF-8; save it as UTF-8"
        );
    }
}

#[test]
fn a_byte_that_is_not_utf8_is_told_with_its_place() {
    assert_eq!(
        load(b"seed = 7\n# caf\xe9\n").unwrap_err(),
        "rehearsal.toml: can't read the configuration: \
         the byte 0xe9 on line 2, column 6, is not UTF-8; save it as UTF-8"
    );
}

#[test]
fn the_mark_of_utf8_is_no_part_of_a_file() {
    assert_eq!(load(b"\xef\xbb\xbfseed = 7\n").unwrap().seed, 7);
    let error = load(b"\xef\xbb\xbfsed = 7\n").unwrap_err();
    assert!(
        error.starts_with("rehearsal.toml:1:1: unknown key `sed`"),
        "{error}"
    );
}
