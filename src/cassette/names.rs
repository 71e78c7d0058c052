//! Names of recordings' files: stable, readable, and harmless on any file system.

use crate::key::Key;
use crate::message::RequestHead;

/// `METHOD-path-KEY.json` with so many digits of the key, and `-2` and on for what comes later in its sequence.
pub(crate) fn file_name(request: &RequestHead, key: &Key, digits: usize, place: u32) -> String {
    let stem = stem(request, key, digits);
    match place {
        0 | 1 => format!("{stem}.json"),
        _ => format!("{stem}-{place}.json"),
    }
}

/// What the names of all recordings of a key begin with.
pub(crate) fn stem(request: &RequestHead, key: &Key, digits: usize) -> String {
    let mut stem = slug(&request.method, MAX_METHOD);
    if stem.is_empty() {
        stem.push('X');
    }
    let path = slug(&request.path, MAX_PATH);
    if !path.is_empty() {
        stem.push('-');
        stem.push_str(&path);
    }
    let key = key.to_string();
    stem.push('-');
    stem.push_str(key.get(..digits).unwrap_or(&key));
    stem
}

/// The place in its sequence, from 1, that a name tells; 1 for names that people gave.
pub(crate) fn place_of(name: &str) -> u32 {
    let stem = name.strip_suffix(".json").unwrap_or(name);
    stem.rsplit_once('-')
        .filter(|(before, place)| {
            let key = before.rsplit('-').next().unwrap_or_default();
            place.len() <= 9
                && !place.starts_with('0')
                && place.bytes().all(|byte| byte.is_ascii_digit())
                && key.len() >= DIGITS[0]
                && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
        .and_then(|(_, place)| place.parse().ok())
        .unwrap_or(1)
}

/// Letters, digits, dots and underscores, with one dash for whatever stands between; never starts with a dot or a dash.
fn slug(text: &str, limit: usize) -> String {
    let mut slug = String::new();
    for char in text.chars() {
        if slug.len() >= limit {
            break;
        }
        match char {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => slug.push(char),
            '.' if !slug.is_empty() => slug.push('.'),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(slug.trim_end_matches(['-', '.']).len());
    slug
}

/// How many digits of the key stand in a name; more where another key has the same ones.
pub(crate) const DIGITS: [usize; 3] = [12, 20, 32];

const MAX_METHOD: usize = 20;
const MAX_PATH: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Headers;

    fn name(method: &str, path: &str, place: u32) -> String {
        let request = RequestHead {
            method: method.to_owned(),
            path: path.to_owned(),
            query: None,
            headers: Headers::new(),
        };
        let key = "3fa9c1d2e5b6000000000000000000ff".parse().unwrap();
        file_name(&request, &key, 12, place)
    }

    #[test]
    fn names_are_readable_and_harmless() {
        for (method, path, expected) in [
            (
                "POST",
                "/v1/chat/completions",
                "POST-v1-chat-completions-3fa9c1d2e5b6.json",
            ),
            ("GET", "/", "GET-3fa9c1d2e5b6.json"),
            ("OPTIONS", "*", "OPTIONS-3fa9c1d2e5b6.json"),
            (
                "GET",
                "/../../etc/passwd",
                "GET-etc-passwd-3fa9c1d2e5b6.json",
            ),
            (
                "GET",
                "/a%00b/%2e%2e/ü\n",
                "GET-a-00b-2e-2e-3fa9c1d2e5b6.json",
            ),
            ("../x", "/.hidden./", "x-hidden-3fa9c1d2e5b6.json"),
            ("!", "//", "X-3fa9c1d2e5b6.json"),
        ] {
            assert_eq!(name(method, path, 1), expected);
        }
        let long = name("GET", &"/long".repeat(100), 3);
        assert!(long.len() < 100, "{long}");
        assert!(long.ends_with("-3fa9c1d2e5b6-3.json"));
    }

    #[test]
    fn a_name_tells_its_place() {
        for place in [1, 2, 10, 123_456] {
            assert_eq!(place_of(&name("GET", "/x", place)), place);
        }
        for odd in [
            "demo-2.json",
            "x.json",
            "GET-x-3fa9c1d2e5b6-02.json",
            ".json",
            "a-3fa9c1d2e5b6-99999999999.json",
        ] {
            assert_eq!(place_of(odd), 1, "{odd}");
        }
    }
}
