//! Counts the tokens in the pieces of an answer, as schedules need it.

use std::time::Duration;

use serde_json::Value;

use super::schedule::ChunkFacts;
use crate::dialect::Dialect;
use crate::frames::sse::{SseEvent, SseSplitter};

/// Counts for one answer. A token is an event that adds text.
#[derive(Debug)]
pub struct Meter {
    /// `None` where it is no event stream.
    splitter: Option<SseSplitter>,
    dialect: Dialect,
}

impl Meter {
    /// For one answer, which is an event stream or not, of this dialect.
    pub fn new(is_event_stream: bool, dialect: Dialect) -> Self {
        Self {
            splitter: is_event_stream.then(|| SseSplitter::new(FRAME_MAX)),
            dialect,
        }
    }

    /// What a schedule needs to know of the next piece, which came at `came`. An event counts where it ends.
    pub fn facts(&mut self, came: Duration, bytes: &[u8]) -> ChunkFacts {
        let frames = match &mut self.splitter {
            Some(splitter) => splitter.push(bytes),
            None => Vec::new(),
        };
        let tokens = frames.iter().filter(|frame| {
            let event = SseEvent::parse(&frame.bytes);
            let text = self.dialect.meaning(&event).text;
            frame.is_complete && text.is_some_and(|text| !text.is_empty())
        });
        ChunkFacts {
            came,
            tokens: u32::try_from(tokens.count()).unwrap_or(u32::MAX),
        }
    }
}

/// How many tokens an answer that is no stream says it has, whoever's API it is. `None` where it says nothing.
pub fn tokens_said(body: &[u8]) -> Option<u32> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let usage = |pointer: &str| body.pointer(pointer)?.as_u64();
    usage("/usage/completion_tokens")
        .or_else(|| usage("/usage/output_tokens"))
        .or_else(|| usage("/usageMetadata/candidatesTokenCount"))
        .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// What is larger is no token.
const FRAME_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_with_text_is_a_token_where_it_ends() {
        let mut meter = Meter::new(true, Dialect::OpenAi);
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
        let mut plain = Meter::new(false, Dialect::OpenAi);
        assert_eq!(plain.facts(Duration::ZERO, b"data: a\n\n").tokens, 0);
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
            ("not json", None),
        ] {
            assert_eq!(tokens_said(body.as_bytes()), expected, "{body}");
        }
    }
}
