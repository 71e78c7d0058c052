//! One way to write what can be written in many: escapes, hosts, query pairs, header values.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::message::RequestHead;

/// Escapes of unreserved characters are undone, all others have digits in upper case; raw bytes beyond ASCII are escaped.
///
/// Nothing else: `..` and `//` stay, as servers differ in what they make of them.
pub(super) fn path(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = match (byte, bytes.as_slice_pair()) {
            (b'%', Some((high, low))) => hex(high).zip(hex(low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                bytes.next();
                bytes.next();
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    normal.push(char::from(byte));
                } else {
                    push_escaped(&mut normal, byte);
                }
            }
            None if byte.is_ascii() => normal.push(char::from(byte)),
            None => push_escaped(&mut normal, byte),
        }
    }
    normal
}

trait Peek2 {
    /// The next two bytes, without taking them.
    fn as_slice_pair(&self) -> Option<(u8, u8)>;
}

impl Peek2 for std::str::Bytes<'_> {
    fn as_slice_pair(&self) -> Option<(u8, u8)> {
        let mut ahead = self.clone();
        ahead.next().zip(ahead.next())
    }
}

/// The pairs of a query or a form, decoded, sorted by name; those of one name keep their order. `a` is the same as `a=`.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    pairs
}

/// Without escapes, and with `+` as a blank. What is not UTF-8 then keeps all its escapes, behind a U+FFFD that says so.
pub(crate) fn decoded(text: &str) -> String {
    let spaced: Cow<'_, str> = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    match percent_decode(spaced.as_bytes()).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => format!("\u{fffd}{}", path(&spaced)),
    }
}

/// In lower case, without the port that is usual.
pub(super) fn host(value: &[u8]) -> String {
    let host = text(value).trim().to_ascii_lowercase();
    match host.strip_suffix(":80").or(host.strip_suffix(":443")) {
        Some(name) => name.to_owned(),
        None => host,
    }
}

/// The values of a header. The boundary of a multipart body, new with each request, does not count.
pub(super) fn header(head: &RequestHead, name: &str) -> Vec<String> {
    head.headers
        .get_all(name)
        .map(|value| {
            let value = text(value).trim().to_owned();
            let is_multipart = name == "content-type"
                && value
                    .get(..10)
                    .is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
            if is_multipart {
                value
                    .split(';')
                    .filter(|part| {
                        !part
                            .trim_start()
                            .get(..9)
                            .is_some_and(|start| start.eq_ignore_ascii_case("boundary="))
                    })
                    .collect::<Vec<_>>()
                    .join(";")
            } else {
                value
            }
        })
        .collect()
}

/// UTF-8, or else Latin-1, which takes any bytes.
fn text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().map(|byte| char::from(*byte)).collect()),
    }
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

fn push_escaped(text: &mut String, byte: u8) {
    text.push('%');
    for digit in [byte >> 4, byte & 0x0f] {
        let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
        text.push(digit.to_ascii_uppercase());
    }
}
