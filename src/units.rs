//! Quantities as people write them: `"250ms"`, `"16KiB"`. The unit is inside the value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, written as a number and one of `us`, `ms`, `s`, `m`, `h`: `"250ms"`, `"1.5s"`.
///
/// From 0 to 365 days, to the microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A number of bytes, written as a number and one of `B`, `KiB`, `MiB`, `GiB` (or `kB`, `MB`, `GB`, powers of ten).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is {what}, expected {expected}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    expected: &'static str,
}

impl UnitError {
    fn new(text: &str, what: &'static str, expected: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            what,
            expected,
        }
    }
}

impl Span {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl ByteSize {
    /// So many KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// So many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib * 1024 * 1024)
    }

    /// As a length in memory; `usize::MAX` where it is larger than that.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || {
            let expected = "a number and a unit such as `250ms`, `1.5s` or `2m`";
            UnitError::new(text, "not a length of time", expected)
        };
        let (number, unit) = split(text).ok_or_else(error)?;
        let seconds = match unit {
            "us" | "µs" => number / 1e6,
            "ms" => number / 1e3,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            _ => return Err(error()),
        };
        if seconds > 365.0 * 86_400.0 {
            let expected = "at most 365 days (`8760h`)";
            return Err(UnitError::new(text, "too long a time", expected));
        }
        Ok(Self(Duration::from_micros(whole(seconds * 1e6))))
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || {
            let expected = "a number and a unit such as `512B`, `16KiB` or `8MiB`";
            UnitError::new(text, "not a number of bytes", expected)
        };
        let (number, unit) = split(text).ok_or_else(error)?;
        let factor: f64 = match unit {
            "B" => 1.0,
            "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(error()),
        };
        let bytes = number * factor;
        // 2^53: up to here each whole number is exact.
        if bytes > 9_007_199_254_740_992.0 {
            let expected = "at most 2^53 bytes (`8388608GiB`)";
            return Err(UnitError::new(text, "too many bytes", expected));
        }
        if bytes.fract() != 0.0 {
            let expected = "one such as `512B`, `16KiB` or `8MiB`";
            return Err(UnitError::new(
                text,
                "not a whole number of bytes",
                expected,
            ));
        }
        Ok(Self(whole(bytes)))
    }
}

/// So many of what a noun names: `1 stream`, `2 streams`.
pub fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// The nearest whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the callers checked that it is from 0 to 2^53"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// The number and the unit of `12.5ms`. `None` for anything that is not plain decimal, such as `NaN` or `1e9`.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros {
            0 => write!(f, "0s"),
            _ if micros.is_multiple_of(3_600_000_000) => write!(f, "{}h", micros / 3_600_000_000),
            _ if micros.is_multiple_of(60_000_000) => write!(f, "{}m", micros / 60_000_000),
            _ if micros.is_multiple_of(1_000_000) => write!(f, "{}s", micros / 1_000_000),
            _ if micros.is_multiple_of(1000) => write!(f, "{}ms", micros / 1000),
            _ => write!(f, "{micros}us"),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        for (size, unit) in UNITS {
            if self.0 != 0 && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// What is expected where a text is read, from a sentence about it.
pub(crate) fn expecting(what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let what = what.strip_suffix('.').unwrap_or(what);
    let what = what
        .strip_prefix("A ")
        .map_or(what.to_owned(), |rest| format!("a {rest}"));
    write!(f, "a text in quotes: {what}")
}

/// Has a type stand in configs as the text that it is parsed from and shown as; the schema may say by which pattern.
macro_rules! as_text {
    ($type:ty, $name:literal, $(pattern $pattern:literal,)? $what:literal) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        $crate::units::expecting($what, f)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", $("pattern": $pattern,)? "description": $what })
            }
        }
    };
}

pub(crate) use as_text;

as_text!(
    Span,
    "Span",
    pattern r"^[0-9]+(\.[0-9]+)? ?(us|µs|ms|s|m|h)$",
    "A length of time such as `250ms`, `1.5s` or `2m`."
);
as_text!(
    ByteSize,
    "ByteSize",
    pattern r"^[0-9]+(\.[0-9]+)? ?(B|kB|MB|GB|KiB|MiB|GiB)$",
    "A number of bytes such as `512B`, `16KiB` or `8MiB`."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, micros, shown) in [
            ("250ms", 250_000, "250ms"),
            ("1.5s", 1_500_000, "1500ms"),
            ("2m", 120_000_000, "2m"),
            ("90 s", 90_000_000, "90s"),
            ("7us", 7, "7us"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_micros(), micros, "{text}");
            assert_eq!(span.to_string(), shown);
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, shown) in [
            ("16KiB", 16_384, "16KiB"),
            ("1.5MiB", 1_572_864, "1536KiB"),
            ("10kB", 10_000, "10000B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), shown);
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused_with_examples() {
        for text in [
            "", "12", "ms", "-1s", "NaNs", "1e9s", "1d", "9999999h", "1.2.3s",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["12", "0.5B", "99999999999GiB", "1kib"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(
            "soon".parse::<Span>().unwrap_err().to_string(),
            "`soon` is not a length of time, expected a number and a unit such as `250ms`, `1.5s` or `2m`"
        );
        assert_eq!(
            "1000000h".parse::<Span>().unwrap_err().to_string(),
            "`1000000h` is too long a time, expected at most 365 days (`8760h`)"
        );
        for (text, error) in [
            (
                "99999999999GiB",
                "`99999999999GiB` is too many bytes, expected at most 2^53 bytes (`8388608GiB`)",
            ),
            (
                "0.5B",
                "`0.5B` is not a whole number of bytes, expected one such as `512B`, `16KiB` or `8MiB`",
            ),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), error);
        }
        assert!("8760h".parse::<Span>().is_ok());
        assert!("8388608GiB".parse::<ByteSize>().is_ok());
    }

    #[test]
    fn one_is_counted_without_an_s() {
        let said = [0, 1, 2].map(|count| counted(count, "stream"));
        assert_eq!(said, ["0 streams", "1 stream", "2 streams"]);
    }
}
