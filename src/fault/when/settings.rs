//! Addressing, as it is written in the file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::units::Span;

/// Which requests: those that fit everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhenSettings {
    /// The method, such as `POST`.
    pub method: Option<String>,
    /// The path, with `*` for any text inside one segment and `**` for any rest.
    pub path: Option<String>,
    /// Headers that must be there, with a pattern for the value; `*` is any text.
    pub headers: BTreeMap<String, String>,
    /// Query parameters that must be there, with a pattern for the decoded value; `*` is any text.
    pub query: BTreeMap<String, String>,
    /// JSON paths, and what must stand there in the body: a pattern for a text, a number, `true` or `false`.
    pub body: BTreeMap<String, Wanted>,
    /// A pattern for who asks; `*` is any text.
    pub client: Option<String>,
    /// A pattern for the model that is asked for; `*` is any text.
    pub model: Option<String>,
    /// What it is asked over.
    pub protocol: Option<Protocol>,
    /// Only the n-th of these requests, counted from 1.
    pub nth: Option<u64>,
    /// Only so many, then never again.
    pub first: Option<u64>,
    /// Every n-th.
    pub every: Option<u64>,
    /// Only after so many; the other counts begin there.
    pub after: Option<u64>,
    /// Whose requests are counted together.
    pub per: Per,
    /// How often the client tried before, as SDKs say in `x-stainless-retry-count`: a number or `{ from = 1, to = 2 }`.
    /// A client that does not say so is at 0.
    pub attempt: Option<Attempt>,
    /// Only at this time after the start of the plan.
    pub window: Option<Window>,
    /// Multiplies the probability, in the course of time.
    pub ramp: Option<Ramp>,
    /// Only where the client names the rule in this header, such as `x-rehearsal-fault`.
    pub header: Option<String>,
}

/// What must stand in a body: a text is a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A text that fits this pattern.
    Text(String),
    /// This number.
    Number(f64),
    /// This one.
    Bool(bool),
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    #[serde(rename = "http1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "http2")]
    Http2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Those of each client by themselves.
    Client,
    /// Those of all.
    #[default]
    All,
}

/// Which attempts, the first one being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The first.
    pub from: u64,
    /// The last. `None`: all that follow.
    pub to: Option<u64>,
}

impl Attempt {
    pub(super) fn contains(self, attempt: u64) -> bool {
        self.from <= attempt && self.to.is_none_or(|to| attempt <= to)
    }
}

/// A time after the start of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// From then on. Default: from the start.
    #[serde(default)]
    pub from: Span,
    /// Up to then. Default: for ever.
    pub to: Option<Span>,
    /// And again, every so long after the start; not less than `to`. Default: once.
    pub every: Option<Span>,
}

impl Window {
    pub(super) fn holds(self, elapsed: Duration) -> bool {
        let elapsed = match self.every {
            Some(every) if every > Span::default() => {
                let turn = elapsed.as_nanos() % every.0.as_nanos();
                Duration::from_nanos(u64::try_from(turn).unwrap_or(u64::MAX))
            }
            Some(_) | None => elapsed,
        };
        self.from.0 <= elapsed && self.to.is_none_or(|to| elapsed < to.0)
    }
}

/// What the probability is multiplied by, linear in time.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// At the start, from 0 to 1. Default 0.
    #[serde(default)]
    pub from: f64,
    /// At the end and from then on, from 0 to 1. Default 1.
    #[serde(default = "all")]
    pub to: f64,
    /// How long it takes: from the start of the window, or of the plan where there is none.
    pub over: Span,
}

impl Ramp {
    /// Some time after its start.
    pub(super) fn at(self, since: Duration) -> f64 {
        if since >= self.over.0 {
            return self.to;
        }
        let part = since.as_secs_f64() / self.over.0.as_secs_f64();
        self.from + (self.to - self.from) * part
    }
}

fn all() -> f64 {
    1.0
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WantedVisitor)
    }
}

struct WantedVisitor;

impl Visitor<'_> for WantedVisitor {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes, a number, `true` or `false`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Wanted, E> {
        Ok(Wanted::Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Wanted, E> {
        Ok(Wanted::Bool(value))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Wanted, E> {
        Ok(Wanted::Number(number))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers in JSON are compared as floats"
    )]
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Wanted, E> {
        Ok(Wanted::Number(number as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers in JSON are compared as floats"
    )]
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Wanted, E> {
        Ok(Wanted::Number(number as f64))
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        "Wanted".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What must stand there: a text is a pattern in which `*` is any text.",
            "type": ["string", "number", "boolean"]
        })
    }
}

impl<'de> Deserialize<'de> for Attempt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttemptVisitor)
    }
}

struct AttemptVisitor;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum End {
    From,
    To,
}

impl<'de> Visitor<'de> for AttemptVisitor {
    type Value = Attempt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number from 0 on, or `{ from = 1, to = 2 }`")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Attempt, E> {
        Ok(Attempt {
            from: number,
            to: Some(number),
        })
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Attempt, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attempt, A::Error> {
        let mut attempt = Attempt { from: 0, to: None };
        while let Some(end) = map.next_key()? {
            match end {
                End::From => attempt.from = map.next_value()?,
                End::To => attempt.to = Some(map.next_value()?),
            }
        }
        Ok(attempt)
    }
}

impl JsonSchema for Attempt {
    fn schema_name() -> Cow<'static, str> {
        "Attempt".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": "integer", "minimum": 0 });
        json_schema!({
            "description": "Which attempts; the first one is 0.",
            "oneOf": [
                number,
                {
                    "type": "object", "properties": { "from": number, "to": number },
                    "additionalProperties": false
                }
            ]
        })
    }
}
