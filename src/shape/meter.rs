//! Counts the tokens in the pieces of an answer, as schedules need it.

use std::time::Duration;

use serde_json::Value;

use super::schedule::ChunkFacts;
use crate::dialect::Dialect;
use crate::frames::sse::{SseEvent, SseSplitter};

/// Counts for one answer.
#[derive(Debug)]
pub enum Meter {
    /// An event stream: a token is an event that adds text.
    Events(SseSplitter, Dialect),
    /// Any other stream, or one that can't be looked into: a token is a piece.
    Pieces,
    /// No stream: there are no tokens in its pieces.
    Whole,
}

impl Meter {
    /// For an event stream of this dialect.
    pub fn of_events(dialect: Dialect) -> Self {
        Self::Events(SseSplitter::new(FRAME_MAX), dialect)
    }

    /// What a schedule needs to know of the next piece, which came at `came`. An event counts where it ends.
    pub fn facts(&mut self, came: Duration, bytes: &[u8]) -> ChunkFacts {
        let tokens = match self {
            Self::Events(splitter, dialect) => splitter
                .push(bytes)
                .iter()
                .filter(|frame| {
                    frame.is_complete && dialect.adds_token(&SseEvent::parse(&frame.bytes))
                })
                .count(),
            Self::Pieces => usize::from(!bytes.is_empty()),
            Self::Whole => 0,
        };
        ChunkFacts {
            came,
            tokens: u32::try_from(tokens).unwrap_or(u32::MAX),
        }
    }
}

/// How many tokens in a row an answer that is no stream says it has, whoever's API it is. `None` where it says nothing.
///
/// What is said is the sum of all choices, and these are made side by side: the longest one counts, with the share that it has of
/// all letters.
pub fn tokens_said(body: &[u8]) -> Option<u32> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let usage = |pointer: &str| body.pointer(pointer)?.as_u64();
    usage("/usage/completion_tokens")
        .or_else(|| usage("/usage/output_tokens"))
        .or_else(|| usage("/usageMetadata/candidatesTokenCount"))
        .map(|count| u32::try_from(in_a_row(count, &body)).unwrap_or(u32::MAX))
}

/// How many of all tokens the longest choice has.
fn in_a_row(tokens: u64, body: &Value) -> u64 {
    let choices = body.get("choices").or_else(|| body.get("candidates"));
    let choices = choices.and_then(Value::as_array).map_or(&[][..], |all| all);
    if choices.len() < 2 {
        return tokens;
    }
    let said = |choice: &Value| -> u64 {
        let said = ["message", "text", "content"].map(|name| choice.get(name).map_or(0, letters));
        said.iter().sum()
    };
    let longest = choices.iter().map(said).max().unwrap_or_default();
    let (longest, all) = match choices.iter().map(said).sum() {
        // Nothing tells one from the other.
        0 => (1, choices.len() as u64),
        all => (longest, all),
    };
    let share = (u128::from(tokens) * u128::from(longest)).div_ceil(u128::from(all));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// The length of all that is said in a message, without what says who says it and of what kind it is.
fn letters(said: &Value) -> u64 {
    match said {
        Value::String(text) => text.len() as u64,
        Value::Array(parts) => parts.iter().map(letters).sum(),
        Value::Object(members) => {
            let members = members.iter();
            members
                .filter(|(name, _)| !matches!(name.as_str(), "role" | "type" | "id"))
                .map(|(_, value)| letters(value))
                .sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// What is larger is no token.
const FRAME_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_with_text_is_a_token_where_it_ends() {
        let mut meter = Meter::of_events(Dialect::OpenAi);
        let mut count = |text: &str| meter.facts(Duration::ZERO, text.as_bytes()).tokens;
        assert_eq!(
            count(
                "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
            ),
            0
        );
        assert_eq!(
            count("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n"),
            0
        );
        assert_eq!(
            count("\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n: x\n\n"),
            2
        );
        assert_eq!(count("data: [DONE]\n\n"), 0);
    }

    #[test]
    fn where_nobody_knows_the_text_each_event_with_data_is_a_token_and_else_each_piece() {
        let mut plain = Meter::of_events(Dialect::Plain);
        let mut count = |text: &str| plain.facts(Duration::ZERO, text.as_bytes()).tokens;
        assert_eq!(count("data: a\n\n: keep-alive\n\nevent: b\ndata: b\n"), 1);
        assert_eq!(count("\nretry: 10\n\ndata: [DONE]\n\n"), 1);
        assert_eq!(Meter::Pieces.facts(Duration::ZERO, b"a\nb").tokens, 1);
        assert_eq!(Meter::Pieces.facts(Duration::ZERO, b"").tokens, 0);
        assert_eq!(Meter::Whole.facts(Duration::ZERO, b"{}").tokens, 0);
    }

    #[test]
    fn a_whole_answer_says_how_many_tokens_it_has() {
        for (body, expected) in [
            (r#"{"usage":{"completion_tokens":7}}"#, Some(7)),
            (r#"{"usage":{"input_tokens":3,"output_tokens":8}}"#, Some(8)),
            (r#"{"usageMetadata":{"candidatesTokenCount":9}}"#, Some(9)),
            (
                r#"{"usage":{"completion_tokens":99999999999}}"#,
                Some(u32::MAX),
            ),
            (r#"{"usage":null}"#, None),
            (
                r#"{"usage":{"completion_tokens":7},"choices":[{"message":{"content":"ab"}}]}"#,
                Some(7),
            ),
            ("not json", None),
        ] {
            assert_eq!(tokens_said(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn of_choices_that_are_made_side_by_side_the_longest_counts() {
        let openai = |choices: &str| {
            format!(r#"{{"choices":[{choices}],"usage":{{"completion_tokens":12}}}}"#)
        };
        let said = |text: &str| {
            format!(r#"{{"index":0,"message":{{"role":"assistant","content":{text}}}}}"#)
        };
        for (body, expected) in [
            (openai(&[said(r#""abc""#), said(r#""abc""#), said(r#""abc""#)].join(",")), 4),
            (openai(&[said(r#""a""#), said(r#""abcde""#)].join(",")), 10),
            (openai(&[said("null"), said("null"), said("null")].join(",")), 4),
            (openai(r#"{"text":"ab"},{"text":"ab"}"#), 6),
            (
                openai(
                    r#"{"message":{"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}},
                    {"message":{"content":"abc","tool_calls":null}}"#,
                ),
                6,
            ),
            (
                r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"abc"}]}},{"content":{"parts":[{"text":"a"}]}}],
                "usageMetadata":{"candidatesTokenCount":12}}"#
                    .to_owned(),
                9,
            ),
        ] {
            assert_eq!(tokens_said(body.as_bytes()), Some(expected), "{body}");
        }
    }
}
