//! Reads JSON that nobody vouches for: strictly, without surprises, with the place of a mistake.
//!
//! Two readers that disagree about a document are a hole: so a repeated member is an error here, not "the last one wins".
//! Numbers keep all their digits; of their text, only the exponent is rewritten (`1E5` as `1e+5`).

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub mod scan;

/// Why bytes are not JSON as it is wanted here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line} column {column}")]
pub struct JsonError {
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// In bytes, from 0 at the beginning of the line.
    pub column: usize,
}

/// Reads one JSON value and nothing after it.
///
/// # Errors
///
/// Where it is not JSON by RFC 8259, has a member twice in one object, is nested deeper than 127 levels, or goes on after
/// the value.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| JsonError::from(&error))
}

impl From<&serde_json::Error> for JsonError {
    fn from(error: &serde_json::Error) -> Self {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        Self {
            message: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
            line: error.line(),
            column: error.column(),
        }
    }
}

/// The one text for all ways to write a number: `1`, `1.0` and `1e0` are `1`.
///
/// Exact, without arithmetic on the value, and never longer than what was written plus an exponent of 20 digits, however
/// large the number is.
pub fn canonical_number(number: &Number) -> String {
    let text = number.as_str();
    if text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = String::with_capacity(text.len() + 8);
    digits.push_str(whole);
    digits.push_str(fraction);
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return "0".to_owned();
    }
    let zeros = significant.len() - trimmed.len();
    let shift = i128::try_from(zeros).unwrap_or(0) - i128::try_from(fraction.len()).unwrap_or(0);
    let sign = if negative { "-" } else { "" };
    match exponent.parse::<i64>() {
        Ok(exponent) => match i128::from(exponent) + shift {
            0 => format!("{sign}{trimmed}"),
            exponent @ 1..=20 => {
                let zeros = usize::try_from(exponent).unwrap_or(0);
                format!("{sign}{trimmed}{:0<zeros$}", "")
            }
            exponent => format!("{sign}{trimmed}e{exponent}"),
        },
        // Beyond 2^63 nobody counts on two ways of writing being the same.
        Err(_) => format!(
            "{sign}{trimmed}e{}s{shift}",
            exponent.trim_start_matches('+')
        ),
    }
}

/// A seed, so that the check of repeated members holds on all levels.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let Some(first) = members.next_key::<String>()? else {
            return Ok(Value::Object(map));
        };
        if first == NUMBER {
            match members.next_value_seed(NumberOrValue)? {
                Value::Number(number) if map.is_empty() => return Ok(Value::Number(number)),
                value => map.insert(first, value),
            };
        } else {
            let value = members.next_value_seed(Self)?;
            map.insert(first, value);
        }
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                let name = Value::String(name);
                return Err(de::Error::custom(format_args!("repeated member {name}")));
            }
            let value = members.next_value_seed(Self)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// What stands in a map whose first member is called like the own token of `serde_json`.
///
/// The token's text comes as an owned string, which a document's strings never do: so a document cannot forge it.
struct NumberOrValue;

impl<'de> DeserializeSeed<'de> for NumberOrValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberOrValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        match text.parse() {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => Err(E::custom("number out of range")),
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value, A::Error> {
        Strict.visit_seq(items)
    }

    // A number behind the token comes as text, a map here can only be the document's.
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Value, A::Error> {
        match Strict.visit_map(members)? {
            // A number that stands in the document under this name must not be taken for the token's.
            Value::Number(_) => Err(de::Error::custom("member name is reserved")),
            value => Ok(value),
        }
    }
}

/// The name of the only member of the map in which `serde_json` hands over a number with its text.
const NUMBER: &str = "$serde_json::private::Number";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_json_keeps_its_text() {
        for text in [
            "null",
            "[]",
            "{}",
            r#"{"b":1.0,"a":[true,false,null,"x\n",-0.0,1e+400,123456789012345678901234567890]}"#,
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"{"$serde_json::private::Number":["1"],"a":1}"#,
            r#"{"$serde_json::private::RawValue":"1"}"#,
        ] {
            let value = parse(text.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
    }

    #[test]
    fn a_mistake_is_shown_with_its_place() {
        assert_eq!(
            error("{\"a\":1,\n \"a\":2}"),
            "repeated member \"a\" at line 2 column 4"
        );
        assert_eq!(error("[1] x"), "trailing characters at line 1 column 5");
        assert_eq!(error("[1"), "EOF while parsing a list at line 1 column 2");
        assert_eq!(error(""), "EOF while parsing a value at line 1 column 0");
        assert!(parse(b"\"\xff\"").is_err());
        assert!(
            parse(br#"{"$serde_json::private::Number":{"$serde_json::private::Number":"1"}}"#)
                .is_ok()
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(127).as_bytes()).is_ok());
        assert_eq!(
            error(&nested(128)),
            "recursion limit exceeded at line 1 column 128"
        );
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());
        assert!(parse("{\"a\":".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn a_number_has_one_canonical_text() {
        for (texts, canonical) in [
            (&["1", "1.0", "1e0", "0.1e1", "10e-1", "1E+0"][..], "1"),
            (
                &["0", "-0", "0.0", "0e999999999999999999999", "-0.0e-5"],
                "0",
            ),
            (&["100", "1e2", "1.00E2"], "100"),
            (&["0.5", "5e-1", "0.50"], "5e-1"),
            (&["-12.5", "-125e-1"], "-125e-1"),
            (&["1e999999999", "10e999999998"], "1e999999999"),
            (
                &["1e99999999999999999999999"],
                "1e99999999999999999999999s0",
            ),
            (
                &["12345678901234567890123", "12345678901234567890123.0"],
                "12345678901234567890123",
            ),
            (&["1e20"], "100000000000000000000"),
            (&["1e21", "1000000000000000000000"], "1e21"),
        ] {
            for text in texts {
                let value = parse(text.as_bytes()).unwrap();
                let Value::Number(number) = value else {
                    panic!("{text} is a number")
                };
                assert_eq!(canonical_number(&number), canonical, "{text}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Err(error) = parse(&bytes) {
                prop_assert!(error.column <= bytes.len());
            }
        }

        #[test]
        fn json_like_text_does_what_serde_json_does(text in "[\\[\\]{}\",:0-9eE.a \\-+tfnu]{0,24}") {
            let loose: Result<Value, _> = serde_json::from_str(&text);
            match (parse(text.as_bytes()), loose) {
                (Ok(strict), Ok(loose)) => prop_assert_eq!(strict, loose),
                (Ok(_), Err(error)) => prop_assert!(false, "{} is only refused by serde_json: {}", text, error),
                (Err(error), Ok(_)) => prop_assert!(error.message.starts_with("repeated"), "{} {}", text, error),
                (Err(_), Err(_)) => {}
            }
        }
    }
}
