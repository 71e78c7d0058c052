//! All the ways in which a secret may be written: as libraries of many languages escape it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The ways in which a secret may be written in a body, a header or a path; the plain one first, each once.
pub(super) fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![secret.to_vec()];
    let is_plain = secret
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
    if is_plain {
        return all;
    }
    all.push(percent(secret, b"-._~", true));
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = json_escaped(text, Escape::Least);
        all.push(json_escaped(&json, Escape::Least).into_bytes());
        all.push(json.into_bytes());
    }
    if secret.len() <= MAX_SPELLED {
        all.push(percent(secret, b"-._~", false));
        for kept in KEPT_IN_PATHS {
            all.push(percent(secret, kept, true));
        }
        for kept in KEPT_IN_FORMS {
            all.push(plus_for_blank(percent(secret, kept, true)));
        }
        // `HttpUtility.UrlEncode` of .NET.
        all.push(plus_for_blank(percent(secret, b"-._!*() ", false)));
        if let Ok(text) = std::str::from_utf8(secret) {
            for escape in [
                Escape::Slash,
                Escape::Ascii,
                Escape::AsciiUpper,
                Escape::Html,
                Escape::HtmlUpper,
            ] {
                let json = json_escaped(text, escape);
                all.push(json_escaped(&json, escape).into_bytes());
                all.push(json.into_bytes());
            }
            all.push(html(text, "&#39;", "&quot;"));
            all.push(html(text, "&#x27;", "&#34;"));
            all.push(html(text, "'", "&quot;"));
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|spelling| seen.insert(spelling.clone()));
    all
}

/// How much more than it must a writer of JSON escapes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Least,
    /// `\/`, as PHP does.
    Slash,
    /// All beyond ASCII, as Python does.
    Ascii,
    AsciiUpper,
    /// What means something in HTML, as Go does; and what .NET adds.
    Html,
    HtmlUpper,
}

fn json_escaped(text: &str, escape: Escape) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        let special = match escape {
            Escape::Least => false,
            Escape::Slash if c == '/' => {
                escaped.push_str("\\/");
                continue;
            }
            Escape::Slash | Escape::Ascii | Escape::AsciiUpper => !c.is_ascii(),
            Escape::Html => "<>&".contains(c),
            Escape::HtmlUpper => !c.is_ascii() || "<>&'\"+`".contains(c),
        };
        match c {
            _ if special => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _infallible = match escape {
                        Escape::AsciiUpper | Escape::HtmlUpper => write!(escaped, "\\u{unit:04X}"),
                        _ => write!(escaped, "\\u{unit:04x}"),
                    };
                }
            }
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c < ' ' => {
                let _infallible = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn percent(bytes: &[u8], kept: &[u8], upper: bool) -> Vec<u8> {
    let digits: &[u8; 16] = if upper {
        b"0123456789ABCDEF"
    } else {
        b"0123456789abcdef"
    };
    let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut escaped = Vec::with_capacity(bytes.len() + 16);
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            escaped.push(*byte);
        } else {
            escaped.extend([b'%', digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }
    escaped
}

fn plus_for_blank(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in &mut bytes {
        if *byte == b' ' {
            *byte = b'+';
        }
    }
    bytes
}

fn html(text: &str, apostrophe: &str, quote: &str) -> Vec<u8> {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', apostrophe)
        .replace('"', quote)
        .into_bytes()
}

/// Longer ones are looked for in the usual spellings only, so that a head full of them stays cheap.
const MAX_SPELLED: usize = 1024;

/// What is left as it is where a blank becomes `%20`.
const KEPT_IN_PATHS: [&[u8]; 5] = [
    // Python: `quote`.
    b"-._~/",
    // Go: `PathEscape`.
    b"-._~$&+=:@",
    // JavaScript: `encodeURIComponent`, `encodeURI`.
    b"-._~!'()*",
    b"-._~!'()*;/?:@&=+$,#",
    // What may stand in a path.
    b"-._~!$&'()*+,;=:@/",
];

/// What is left as it is where a blank becomes `+`.
const KEPT_IN_FORMS: [&[u8]; 4] = [
    // Python: `quote_plus`; Go: `QueryEscape`.
    b"-._~ ",
    // PHP: `urlencode`.
    b"-._ ",
    // JavaScript: `URLSearchParams`; Java: `URLEncoder`.
    b"-._* ",
    // .NET: `WebUtility.UrlEncode`.
    b"-._!*() ",
];
