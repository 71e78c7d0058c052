//! When each piece of one answer is due. Knows no clock; the pump waits.
//!
//! All moments count from the end of the request, and are absolute: a piece that went late does not move the next one.

use std::sync::Arc;
use std::time::Duration;

use super::token_pace::TokenPace;
use crate::dice::{Draw, Stream};

/// The pace of a route, compiled: what the schedules of its answers are made from.
#[derive(Clone, Debug, PartialEq)]
pub enum Timing {
    /// Each piece as soon as the client takes it.
    Instant,
    /// When it came, so many times faster.
    Recorded {
        /// As in [`Pace::Recorded`](super::pace::Pace::Recorded).
        speed: f64,
    },
    /// By times drawn for each token.
    Tokens(Arc<TokenPace>),
}

impl Default for Timing {
    /// When it came.
    fn default() -> Self {
        Self::Recorded { speed: 1.0 }
    }
}

impl Timing {
    /// The same for a recording that is to be played so many times faster by itself.
    #[must_use]
    pub fn faster(&self, times: f64) -> Self {
        match self {
            Self::Instant => Self::Instant,
            Self::Recorded { speed } => Self::Recorded {
                speed: speed * times,
            },
            Self::Tokens(pace) => Self::Tokens(Arc::clone(pace)),
        }
    }

    /// Whether it draws times, so that a schedule needs a stream of its own, and facts on each piece.
    pub fn draws(&self) -> bool {
        matches!(self, Self::Tokens(_))
    }
}

/// What a schedule needs to know of a piece of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkFacts {
    /// When it came, from the end of the request.
    pub came: Duration,
    /// How many tokens end in it.
    pub tokens: u32,
}

/// The schedule of one answer.
#[derive(Debug)]
pub struct Schedule {
    rule: Rule,
    is_live: bool,
    /// When the last piece was due.
    last: Duration,
}

#[derive(Debug)]
enum Rule {
    AtOnce,
    Recorded { speed: f64 },
    Tokens(Box<Tokens>),
}

#[derive(Debug)]
struct Tokens {
    pace: Arc<TokenPace>,
    stream: Stream,
    /// When the last token was due; `None` before the first one.
    at: Option<Duration>,
}

impl Schedule {
    /// For one answer. `is_live`: it comes from an upstream right now, so nothing goes earlier than it came, and its own pace
    /// is when it comes. `draw` is what times are drawn from.
    pub fn new(timing: &Timing, is_live: bool, draw: Draw) -> Self {
        let rule = match timing {
            Timing::Instant => Rule::AtOnce,
            Timing::Recorded { .. } if is_live => Rule::AtOnce,
            Timing::Recorded { speed } => Rule::Recorded { speed: *speed },
            Timing::Tokens(pace) => Rule::Tokens(Box::new(Tokens {
                pace: Arc::clone(pace),
                stream: draw.stream(),
                at: None,
            })),
        };
        Self {
            rule,
            is_live,
            last: Duration::ZERO,
        }
    }

    /// When the head is due that came at `came`. `None`: at once. A schedule of tokens lets the head of a stream go at once, as
    /// APIs do.
    pub fn head(&mut self, came: Duration) -> Option<Duration> {
        self.due(ChunkFacts { came, tokens: 0 })
    }

    /// When the next piece of the body is due. `None`: at once. Never before the piece before it.
    ///
    /// A schedule of tokens has a time for each token; a piece with several goes with its last one, and one without goes
    /// right after the piece before it.
    pub fn due(&mut self, chunk: ChunkFacts) -> Option<Duration> {
        let due = match &mut self.rule {
            Rule::AtOnce => return None,
            // Division by a tiny speed can leave the range of a duration; then it is due as late as can be.
            Rule::Recorded { speed } => {
                Duration::try_from_secs_f64(chunk.came.as_secs_f64() / *speed)
                    .unwrap_or(Duration::MAX)
            }
            Rule::Tokens(tokens) if chunk.tokens > 0 => tokens.due(chunk.tokens),
            Rule::Tokens(_) => self.last,
        };
        let due = if self.is_live {
            due.max(chunk.came)
        } else {
            due
        };
        self.last = due.max(self.last);
        Some(self.last)
    }

    /// When the end is due that came at `came`. `None`: at once.
    pub fn end(&mut self, came: Duration) -> Option<Duration> {
        self.due(ChunkFacts { came, tokens: 0 })
    }
}

impl Tokens {
    /// When the last of the next `count` tokens is due.
    fn due(&mut self, count: u32) -> Duration {
        let (mut at, mut rest) = match self.at {
            Some(at) => (at, count),
            None => (self.pace.ttft.sample(&mut self.stream), count - 1),
        };
        // A recording may claim any number; after so many the mean says it all.
        let drawn = rest.min(DRAWN_MAX);
        let start = at;
        for _ in 0..drawn {
            at = at.saturating_add(self.pace.gap.sample(&mut self.stream));
        }
        rest -= drawn;
        if rest > 0 {
            let mean = (at.saturating_sub(start)) / drawn;
            at = at.saturating_add(mean.saturating_mul(rest));
        }
        self.at = Some(at);
        at
    }
}

const DRAWN_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn tokens(ttft: &str, gap: &str) -> Timing {
        Timing::Tokens(Arc::new(TokenPace {
            ttft: ttft.parse().unwrap(),
            gap: gap.parse().unwrap(),
        }))
    }

    fn chunk(came: u64, tokens: u32) -> ChunkFacts {
        ChunkFacts {
            came: millis(came),
            tokens,
        }
    }

    #[test]
    fn a_recorded_piece_is_due_when_it_came_divided_by_the_speed() {
        for (timing, is_live, expected) in [
            (Timing::Instant, false, None),
            (Timing::Recorded { speed: 1.0 }, false, Some(millis(300))),
            (Timing::Recorded { speed: 2.0 }, false, Some(millis(150))),
            (
                Timing::Recorded {
                    speed: f64::MIN_POSITIVE,
                },
                false,
                Some(Duration::MAX),
            ),
            (Timing::Recorded { speed: 2.0 }, true, None),
            (
                Timing::Recorded { speed: 1.5 }.faster(2.0),
                false,
                Some(millis(100)),
            ),
        ] {
            let mut schedule = Schedule::new(&timing, is_live, Draw::from_bits(1));
            assert_eq!(schedule.due(chunk(300, 1)), expected, "{timing:?}");
        }
    }

    #[test]
    fn tokens_are_spaced_and_the_rest_goes_with_them() {
        let mut schedule = Schedule::new(&tokens("200ms", "10ms"), false, Draw::from_bits(1));
        // Head, role, three tokens, finish, usage, end: what came when does not count.
        assert_eq!(schedule.head(millis(5)), Some(Duration::ZERO));
        let dues: Vec<_> = [0, 1, 1, 0, 1, 0, 0]
            .into_iter()
            .map(|tokens| schedule.due(chunk(7, tokens)).unwrap().as_millis())
            .collect();
        assert_eq!(dues, [0, 200, 210, 210, 220, 220, 220]);
        assert_eq!(schedule.end(millis(9)), Some(millis(220)));
    }

    #[test]
    fn a_piece_with_several_tokens_is_due_with_its_last() {
        let mut schedule = Schedule::new(&tokens("200ms", "10ms"), false, Draw::from_bits(1));
        assert_eq!(schedule.due(chunk(0, 5)), Some(millis(240)));
        assert_eq!(schedule.due(chunk(0, 2)), Some(millis(260)));
    }

    #[test]
    fn nothing_live_goes_earlier_than_it_came_and_the_schedule_stays() {
        let mut schedule = Schedule::new(&tokens("200ms", "10ms"), true, Draw::from_bits(1));
        assert_eq!(schedule.head(millis(50)), Some(millis(50)));
        assert_eq!(schedule.due(chunk(100, 1)), Some(millis(200)));
        assert_eq!(schedule.due(chunk(500, 1)), Some(millis(500)), "a stall");
        assert_eq!(schedule.due(chunk(501, 1)), Some(millis(501)), "behind");
        let mut due = Duration::ZERO;
        for _ in 0..40 {
            due = schedule.due(chunk(501, 1)).unwrap();
        }
        assert_eq!(due, millis(200 + 42 * 10), "on the schedule again");
    }

    #[test]
    fn the_same_stream_draws_the_same_times() {
        let dues = |bits| {
            let mut schedule = Schedule::new(
                &tokens("200ms ± 40ms", "10ms ± 2ms"),
                false,
                Draw::from_bits(bits),
            );
            (0..50)
                .map(|_| schedule.due(chunk(0, 1)).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(dues(1), dues(1));
        assert_ne!(dues(1), dues(2));
        assert!(dues(3).is_sorted());
    }

    #[test]
    fn claims_of_any_size_take_no_time() {
        let mut schedule = Schedule::new(&tokens("0s", "365h"), false, Draw::from_bits(1));
        for _ in 0..3 {
            assert!(schedule.due(chunk(0, u32::MAX)).is_some());
        }
    }
}
