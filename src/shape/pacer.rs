//! Paces one answer: looks at what passes, and says when it is due.
//!
//! Joins a meter and a schedule. Knows no clock; the pump waits. Stands after the rechunking, before the client.

use std::time::Duration;

use super::meter::{Meter, tokens_said};
use super::schedule::{ChunkFacts, Schedule, Timing};
use crate::dialect::Dialect;
use crate::dice::Draw;
use crate::message::ResponseHead;

/// The pace of one answer.
#[derive(Debug)]
pub struct Pacer {
    schedule: Schedule,
    dialect: Dialect,
    /// `None` where nobody asks for tokens.
    meter: Option<Meter>,
    is_drawn: bool,
}

impl Pacer {
    /// For one answer. `is_live` and `draw` as for a [`Schedule`]; `dialect` is what is spoken.
    pub fn new(timing: &Timing, is_live: bool, dialect: Dialect, draw: Draw) -> Self {
        Self {
            schedule: Schedule::new(timing, is_live, draw),
            dialect,
            meter: None,
            is_drawn: timing.draws(),
        }
    }

    /// Without any waiting.
    pub fn instant() -> Self {
        Self::new(&Timing::Instant, false, Dialect::Plain, Draw::from_bits(0))
    }

    /// When the head is due that came at `came`; `None`: at once. To be called once, first.
    ///
    /// `body` is the whole body where it is known and no stream: by the times of tokens it comes, with its head, when its last
    /// token would have come. What has no tokens, such as a list or an error, goes at once. Of a stream that can't be looked into
    /// (encoded, or no event stream) each piece is a token.
    pub fn head(
        &mut self,
        came: Duration,
        head: &ResponseHead,
        body: Option<&[u8]>,
    ) -> Option<Duration> {
        if !self.is_drawn {
            return self.schedule.head(came);
        }
        let is_encoded = head
            .headers
            .get_str("content-encoding")
            .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
        let is_event_stream = head.media_type().as_deref() == Some("text/event-stream");
        self.meter = Some(if is_event_stream && !is_encoded {
            Meter::of_events(self.dialect)
        } else if is_event_stream || may_go_on(head) {
            Meter::Pieces
        } else {
            Meter::Whole
        });
        let tokens = match body {
            Some(body) if !is_event_stream => tokens_said(body).unwrap_or(0),
            Some(_) | None => 0,
        };
        self.schedule.due(ChunkFacts { came, tokens })
    }

    /// When the next piece of the body is due that came at `came`; `None`: at once.
    pub fn chunk(&mut self, came: Duration, bytes: &[u8]) -> Option<Duration> {
        let facts = match &mut self.meter {
            Some(meter) => meter.facts(came, bytes),
            None => ChunkFacts { came, tokens: 0 },
        };
        self.schedule.due(facts)
    }

    /// When the next piece of the body is due that came at `came` and is known to have so many tokens; `None`: at once.
    pub fn counted(&mut self, came: Duration, tokens: u32) -> Option<Duration> {
        self.schedule.due(ChunkFacts { came, tokens })
    }

    /// When the end is due that came at `came`; `None`: at once.
    pub fn end(&mut self, came: Duration) -> Option<Duration> {
        self.schedule.end(came)
    }
}

/// Whether it is a stream, as far as its head tells: of no length, and no JSON, which is of use only as a whole.
fn may_go_on(head: &ResponseHead) -> bool {
    let is_json = head
        .media_type()
        .is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"));
    (200..300).contains(&head.status)
        && !is_json
        && head.headers.get_str("content-length").is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::Headers;
    use crate::shape::pace::TokenPace;

    fn pacer() -> Pacer {
        let pace = TokenPace {
            ttft: "200ms".parse().unwrap(),
            gap: "10ms".parse().unwrap(),
        };
        let draw = Draw::from_bits(1);
        Pacer::new(
            &Timing::Tokens(Arc::new(pace)),
            false,
            Dialect::OpenAi,
            draw,
        )
    }

    fn head(media_type: &str) -> ResponseHead {
        let mut headers = Headers::new();
        headers.push("content-type", media_type.to_owned());
        ResponseHead {
            status: 200,
            reason: None,
            headers,
        }
    }

    fn millis(due: Option<Duration>) -> u128 {
        due.unwrap().as_millis()
    }

    #[test]
    fn a_stream_is_paced_by_its_tokens() {
        let mut pacer = pacer();
        assert_eq!(
            millis(pacer.head(
                Duration::ZERO,
                &head("text/event-stream; charset=utf-8"),
                None
            )),
            0
        );
        let mut chunk = |text: &str| millis(pacer.chunk(Duration::ZERO, text.as_bytes()));
        assert_eq!(
            chunk("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"),
            0
        );
        assert_eq!(
            chunk("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"),
            200
        );
        assert_eq!(
            chunk("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"),
            210
        );
        assert_eq!(chunk("data: [DONE]\n\n"), 210);
        assert_eq!(millis(pacer.end(Duration::ZERO)), 210);
    }

    #[test]
    fn a_whole_answer_comes_when_its_last_token_would_have() {
        let body = br#"{"usage":{"completion_tokens":11}}"#;
        let mut whole = pacer();
        assert_eq!(
            millis(whole.head(Duration::ZERO, &head("application/json"), Some(body))),
            300
        );
        assert_eq!(millis(whole.chunk(Duration::ZERO, body)), 300);
        let both =
            br#"{"usage":{"completion_tokens":22},"choices":[{"text":"a b"},{"text":"c d"}]}"#;
        let mut two = pacer();
        assert_eq!(
            millis(two.head(Duration::ZERO, &head("application/json"), Some(both))),
            300,
            "two choices of eleven tokens are made side by side"
        );
        let mut list = pacer();
        assert_eq!(
            millis(list.head(Duration::ZERO, &head("application/json"), Some(b"[]"))),
            0
        );
    }

    #[test]
    fn of_other_streams_each_piece_is_a_token_and_of_what_is_no_stream_none() {
        let mut encoded = head("text/event-stream");
        encoded.headers.push("content-encoding", "gzip");
        let mut sized = head("text/plain");
        sized.headers.push("content-length", "2");
        let mut refused = head("text/plain");
        refused.status = 500;
        for (head, last) in [
            (encoded, 210),
            (head("text/plain"), 210),
            (head("application/x-ndjson"), 210),
            (head("application/json; charset=utf-8"), 0),
            (head("application/problem+json"), 0),
            (sized, 0),
            (refused, 0),
        ] {
            let mut pacer = pacer();
            pacer.head(Duration::ZERO, &head, None);
            pacer.chunk(Duration::ZERO, b"a");
            let due = pacer.chunk(Duration::ZERO, b"b");
            assert_eq!(millis(due), last, "{head:?}");
        }
    }
}
