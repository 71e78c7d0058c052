//! How places and events are written.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{EventKind, Events, Position};
use crate::units::{ByteSize, Span};

/// A text that names no place in an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a place in an answer, expected {PLACES}")]
pub struct PositionError(String);

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        if let Some((_, place)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(place.clone());
        }
        let bytes = text.parse::<ByteSize>().map(Self::Bytes);
        bytes
            .or_else(|_| text.parse::<Span>().map(Self::Time))
            .map_err(|_| PositionError(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PositionVisitor)
    }
}

struct PositionVisitor;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum Unit {
    Events,
    Bytes,
    Time,
}

impl<'de> Visitor<'de> for PositionVisitor {
    type Value = Position;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PLACES)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Position, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Position, A::Error> {
        let place = match map.next_key()? {
            Some(Unit::Events) => Position::Events(map.next_value()?),
            Some(Unit::Bytes) => Position::Bytes(map.next_value()?),
            Some(Unit::Time) => Position::Time(map.next_value()?),
            None => {
                return Err(de::Error::custom(format_args!(
                    "no place, expected {PLACES}"
                )));
            }
        };
        match map.next_key::<Unit>()? {
            None => Ok(place),
            Some(_) => Err(de::Error::custom(format_args!(
                "two places, expected {PLACES}"
            ))),
        }
    }
}

impl JsonSchema for Position {
    fn schema_name() -> Cow<'static, str> {
        "Position".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        let one = |name: &str, schema: Schema| {
            json_schema!({
                "type": "object", "properties": { name: schema },
                "required": [name], "additionalProperties": false
            })
        };
        let events = one("events", json_schema!({ "type": "integer", "minimum": 0 }));
        let bytes = one("bytes", generator.subschema_for::<ByteSize>());
        let time = one("time", generator.subschema_for::<Span>());
        json_schema!({
            "description": "A place in an answer: a word, a size or a time, or so many events.",
            "oneOf": [
                { "enum": words },
                generator.subschema_for::<ByteSize>(),
                generator.subschema_for::<Span>(),
                events, bytes, time
            ]
        })
    }
}

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventsVisitor)
    }
}

struct EventsVisitor;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum Which {
    At,
    From,
    Count,
    Kind,
}

impl<'de> Visitor<'de> for EventsVisitor {
    type Value = Events;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EVENTS)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Events, E> {
        at(vec![number])
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Events, E> {
        let number = u64::try_from(number);
        self.visit_u64(number.map_err(|_| E::custom("events are counted from 1"))?)
    }

    fn visit_str<E: de::Error>(self, kind: &str) -> Result<Events, E> {
        let kind: StrDeserializer<'_, E> = kind.into_deserializer();
        EventKind::deserialize(kind).map(Events::Kind)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Events, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = seq.next_element()? {
            numbers.push(number);
        }
        at(numbers)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Events, A::Error> {
        let (mut found, mut from, mut count) = (None, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Which::At => found = Some(at(map.next_value()?)?),
                Which::Kind => found = Some(Events::Kind(map.next_value()?)),
                Which::From => from = Some(map.next_value::<u64>()?),
                Which::Count => count = Some(map.next_value::<u64>()?),
            }
        }
        match (found, from, count) {
            (Some(events), None, None) => Ok(events),
            (None, Some(from), Some(count)) if from > 0 && count > 0 => {
                Ok(Events::Range { from, count })
            }
            (None, Some(_), Some(_)) => Err(de::Error::custom(
                "`from` or `count` is zero, expected a number from 1 on",
            )),
            (Some(_) | None, _, _) => Err(de::Error::custom(format_args!(
                "this does not say which events, expected {EVENTS}"
            ))),
        }
    }
}

impl JsonSchema for Events {
    fn schema_name() -> Cow<'static, str> {
        "Events".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": "integer", "minimum": 1 });
        let kind = generator.subschema_for::<EventKind>();
        json_schema!({
            "description": "Which events: the n-th (from 1), several, a range, or all of a kind.",
            "oneOf": [
                number,
                { "type": "array", "items": number, "minItems": 1 },
                kind,
                {
                    "type": "object", "properties": { "from": number, "count": number },
                    "required": ["from", "count"], "additionalProperties": false
                },
                {
                    "type": "object", "properties": { "at": { "type": "array", "items": number, "minItems": 1 } },
                    "required": ["at"], "additionalProperties": false
                },
                {
                    "type": "object", "properties": { "kind": kind },
                    "required": ["kind"], "additionalProperties": false
                }
            ]
        })
    }
}

fn at<E: de::Error>(mut numbers: Vec<u64>) -> Result<Events, E> {
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() {
        return Err(E::custom(format_args!(
            "no event is named, expected {EVENTS}"
        )));
    }
    if numbers.contains(&0) {
        return Err(E::custom(
            "there is no event 0, expected a number from 1 on",
        ));
    }
    Ok(Events::At(numbers))
}

const WORDS: [(&str, Position); 6] = [
    ("before-head", Position::BeforeHead),
    ("head", Position::Head),
    ("first-tool-call", Position::FirstToolCall),
    ("first-token", Position::FirstToken),
    ("before-terminator", Position::BeforeTerminator),
    ("end", Position::End),
];

const PLACES: &str = "`{ events = 12 }`, a size such as `\"4KiB\"`, a time such as `\"2s\"`, or one of `before-head`, `head`, \
                      `first-tool-call`, `first-token`, `before-terminator`, `end`";

const EVENTS: &str = "a number such as `3`, several such as `[1, 3]`, `{ from = 3, count = 2 }`, or one of `role`, \
                      `content`, `tool-call`, `finish`, `usage`, `terminator`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_place_is_read() {
        for (json, place) in [
            ("\"before-head\"", Position::BeforeHead),
            ("\"head\"", Position::Head),
            ("\"first-tool-call\"", Position::FirstToolCall),
            ("\"first-token\"", Position::FirstToken),
            ("\"before-terminator\"", Position::BeforeTerminator),
            ("\"end\"", Position::End),
            ("\"4KiB\"", Position::Bytes(ByteSize::kib(4))),
            ("\"2s\"", Position::Time(Span::secs(2))),
            ("\"2m\"", Position::Time(Span::secs(120))),
            ("{\"events\":12}", Position::Events(12)),
            ("{\"bytes\":\"4KiB\"}", Position::Bytes(ByteSize::kib(4))),
            ("{\"time\":\"2s\"}", Position::Time(Span::secs(2))),
        ] {
            assert_eq!(serde_json::from_str::<Position>(json).unwrap(), place);
        }
    }

    #[test]
    fn every_way_to_write_events_is_read() {
        let range = Events::Range { from: 3, count: 2 };
        for (json, events) in [
            ("3", Events::At(vec![3])),
            ("[3,1,3]", Events::At(vec![1, 3])),
            ("{\"at\":[2]}", Events::At(vec![2])),
            ("{\"from\":3,\"count\":2}", range),
            ("\"tool-call\"", Events::Kind(EventKind::ToolCall)),
            ("{\"kind\":\"usage\"}", Events::Kind(EventKind::Usage)),
        ] {
            assert_eq!(serde_json::from_str::<Events>(json).unwrap(), events);
        }
    }

    #[test]
    fn what_is_no_place_or_no_event_is_refused() {
        for json in ["\"soon\"", "12", "{}", "{\"events\":-1}", "{\"line\":1}"] {
            assert!(serde_json::from_str::<Position>(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Position>("{\"events\":1,\"bytes\":\"1B\"}").is_err());
        for json in [
            "0",
            "[]",
            "[0]",
            "-1",
            "{}",
            "\"all\"",
            "{\"from\":1}",
            "{\"from\":0,\"count\":1}",
        ] {
            assert!(serde_json::from_str::<Events>(json).is_err(), "{json}");
        }
        assert_eq!(
            "soon".parse::<Position>().unwrap_err().to_string(),
            format!("`soon` is not a place in an answer, expected {PLACES}")
        );
    }

    #[test]
    fn places_in_one_unit_have_an_order_and_others_none() {
        let order = [
            Position::BeforeHead,
            Position::Head,
            Position::Events(1),
            Position::Events(2),
        ];
        for (index, place) in order.iter().enumerate() {
            for (other, earlier) in order.iter().enumerate() {
                assert_eq!(place.is_after(earlier), index > other, "{place} {earlier}");
            }
        }
        assert!(Position::Bytes(ByteSize::kib(4)).is_after(&Position::Bytes(ByteSize::kib(1))));
        assert!(!Position::Bytes(ByteSize::kib(4)).is_after(&Position::Events(1)));
        assert!(Position::FirstToken.is_after(&Position::Events(0)));
        assert!(!Position::Events(0).is_after(&Position::Head));
        assert!(!Position::FirstToken.is_after(&Position::FirstToolCall));
    }
}
