//! Finds values in a JSON text without building them: for looks at many texts of which a few members matter.
//!
//! A view: it takes what is well-formed as it should be, and finds nothing where a text is broken before the place it looks
//! for. It does not say whether a text is JSON; `parse` does. Its work grows with the length of the text, however deep
//! that is nested.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

use std::borrow::Cow;
use std::ops::Range;

/// A value where it stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned<'a> {
    text: &'a str,
    /// Where the value begins in `text`. `start < end <= text.len()`
    start: usize,
    end: usize,
}

impl<'a> Scanned<'a> {
    /// The value that a text begins with, white space aside.
    pub fn root(text: &'a str) -> Option<Self> {
        let start = skip_space(text.as_bytes(), 0);
        Self::at(text, start)
    }

    /// The value that begins at `start`.
    fn at(text: &'a str, start: usize) -> Option<Self> {
        let end = skip_value(text.as_bytes(), start)?;
        Some(Self { text, start, end })
    }

    /// Where it stands in the text that was scanned, quotes and brackets included.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// As it stands in the text.
    pub fn raw(self) -> &'a str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    fn first(self) -> u8 {
        self.raw().bytes().next().unwrap_or_default()
    }

    /// Whether it is a string.
    pub fn is_string(self) -> bool {
        self.first() == b'"'
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.first() == b'{'
    }

    /// Whether it is neither `null`, `false`, `""`, `[]` nor `{}`.
    pub fn is_something(self) -> bool {
        match self.first() {
            b'{' => self.members().next().is_some(),
            b'[' => self.items().next().is_some(),
            b'"' => self.raw().len() > 2,
            b'n' | b'f' => false,
            _ => true,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(self) -> bool {
        self.raw() == "true"
    }

    /// A whole number from 0.
    pub fn number(self) -> Option<u64> {
        self.raw().parse().ok()
    }

    /// What stands between the quotes of a string, as it stands there.
    pub fn inner(self) -> Option<&'a str> {
        self.raw().strip_prefix('"')?.strip_suffix('"')
    }

    /// What a string says. Where its escapes make no text (half of a surrogate pair), they are left as they stand.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.inner()?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        let decoded = serde_json::from_str(self.raw()).map_or(Cow::Borrowed(inner), Cow::Owned);
        Some(decoded)
    }

    /// The first member of this name of an object.
    pub fn get(self, name: &str) -> Option<Self> {
        self.members()
            .find_map(|(have, value)| have.is(name).then_some(value))
    }

    /// The members of an object, up to the place where it is broken. None for anything else.
    pub fn members(self) -> impl Iterator<Item = (Name<'a>, Self)> {
        let bytes = self.text.as_bytes();
        let mut at = self.start + 1;
        let mut is_over = !self.is_object();
        std::iter::from_fn(move || {
            let entry = (!is_over).then(|| {
                let start = skip_space(bytes, at);
                let end = skip_string(bytes, start)?;
                let name = Name(self.text.get(start..end)?);
                let colon = skip_space(bytes, end);
                (bytes.get(colon) == Some(&b':')).then_some(())?;
                let value = Self::at(self.text, skip_space(bytes, colon + 1))?;
                Some((name, value))
            });
            let entry = entry.flatten();
            is_over = entry.is_none_or(|(_, value)| !has_next(bytes, value.end, &mut at));
            entry
        })
    }

    /// The items of an array, up to the place where it is broken. None for anything else.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let bytes = self.text.as_bytes();
        let mut at = self.start + 1;
        let mut is_over = self.first() != b'[';
        std::iter::from_fn(move || {
            let item = (!is_over).then(|| Self::at(self.text, skip_space(bytes, at)));
            let item = item.flatten();
            is_over = item.is_none_or(|value| !has_next(bytes, value.end, &mut at));
            item
        })
    }
}

/// The name of a member with its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a str);

impl Name<'_> {
    /// Whether it is this name, written with escapes or without.
    pub fn is(self, name: &str) -> bool {
        let inner = self.plain();
        if inner.contains('\\') {
            return serde_json::from_str::<String>(self.0).is_ok_and(|have| have == name);
        }
        inner == name
    }
}

impl<'a> Name<'a> {
    /// What stands between the quotes; a name with escapes is not decoded.
    pub fn plain(self) -> &'a str {
        let inner = self.0.strip_prefix('"').unwrap_or(self.0);
        inner.strip_suffix('"').unwrap_or(inner)
    }
}

/// Whether a comma follows; `at` is then behind it.
fn has_next(bytes: &[u8], end: usize, at: &mut usize) -> bool {
    let comma = skip_space(bytes, end);
    *at = comma + 1;
    bytes.get(comma) == Some(&b',')
}

fn skip_space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let space = rest
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    at + space.unwrap_or(rest.len())
}

/// The end of the string that begins at `at`.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        let rest = bytes.get(at..)?;
        let found = memchr::memchr2(b'"', b'\\', rest)?;
        at += found + 1;
        if rest.get(found) == Some(&b'"') {
            return Some(at);
        }
        // What is escaped ends nothing.
        at += 1;
    }
}

/// The end of the value that begins at `at`.
fn skip_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => at = skip_string(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => at += 1,
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => return None,
            _ => at = skip_scalar(bytes, at),
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn skip_scalar(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| {
        matches!(
            byte,
            b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r'
        )
    });
    at + end.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn at<'a>(text: &'a str, path: &[&str]) -> Option<Scanned<'a>> {
        let root = Scanned::root(text)?;
        path.iter().try_fold(root, |value, name| value.get(name))
    }

    #[test]
    fn a_value_is_found_where_it_stands() {
        let text = r#" {"a" : {"x":[1,{"b":"]}\""}]}, "b":{"c":"d\u00e9\n"} , "n":17,"e":""} "#;
        assert_eq!(at(text, &["b", "c"]).unwrap().text().unwrap(), "dé\n");
        assert_eq!(at(text, &["n"]).unwrap().number(), Some(17));
        assert_eq!(&text[at(text, &["n"]).unwrap().range()], "17");
        assert!(!at(text, &["e"]).unwrap().is_something());
        let items: Vec<_> = at(text, &["a", "x"]).unwrap().items().collect();
        assert_eq!(items[1].raw(), r#"{"b":"]}\""}"#);
        assert_eq!(items.len(), 2);
        assert_eq!(at(r#"{"\u0061":1}"#, &["a"]).unwrap().number(), Some(1));
    }

    #[test]
    fn nothing_is_found_behind_a_break() {
        for text in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{a:1}",
            "{\"a\" 1}",
            "[1",
            "\"a",
            "]",
            ",",
            "{\"b\":1 \"a\":2}",
        ] {
            assert_eq!(at(text, &["a"]), None, "{text}");
        }
        assert_eq!(Scanned::root("[]").unwrap().items().count(), 0);
        assert_eq!(Scanned::root("{}").unwrap().members().count(), 0);
    }

    #[test]
    fn half_of_a_surrogate_pair_stays_as_it_stands() {
        assert_eq!(
            Scanned::root(r#""a\ud83d""#).unwrap().text().unwrap(),
            r"a\ud83d"
        );
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = format!(
            "{{\"a\":{},\"b\":1}}",
            "[".repeat(1_000_000) + &"]".repeat(1_000_000)
        );
        assert_eq!(at(&deep, &["b"]).unwrap().number(), Some(1));
        assert_eq!(at(&"[".repeat(1_000_000), &["b"]), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u32>().prop_map(Value::from),
            "[ -~é\n\u{1F600}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[a-c\"\\\\]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn compare(scanned: Scanned<'_>, value: &Value) {
        match value {
            Value::String(text) => assert_eq!(scanned.text().unwrap(), text.as_str()),
            Value::Array(items) => {
                let found: Vec<_> = scanned.items().collect();
                assert_eq!(found.len(), items.len());
                for (found, item) in found.into_iter().zip(items) {
                    compare(found, item);
                }
            }
            Value::Object(map) => {
                assert_eq!(scanned.members().count(), map.len());
                for (name, value) in map {
                    compare(scanned.get(name).unwrap(), value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                assert_eq!(scanned.raw(), value.to_string());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn all_that_a_parser_finds_is_found(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            compare(Scanned::root(&text.unwrap()).unwrap(), &value);
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:\\\\ a0é]{0,40}") {
            if let Some(root) = Scanned::root(&text) {
                for (name, value) in root.members() {
                    name.is("a");
                    prop_assert!(value.range().end <= text.len());
                    value.text();
                }
                for item in root.items() {
                    item.is_something();
                }
            }
        }
    }
}
