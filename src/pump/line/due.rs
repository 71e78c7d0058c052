//! When what is on its way is due, as moments of the clock; the stages count from the end of the request.

use std::time::Duration;

use tokio::time::Instant;

use crate::cue::Timed;

/// When there is something to do.
#[derive(Clone, Copy, Debug)]
pub(in crate::pump) enum Due {
    Now,
    /// At a moment that came with the answer.
    At(Instant),
    /// At a moment that a fault set.
    Exactly(Instant),
}

impl Due {
    /// The moment; `None`: at once.
    pub(in crate::pump) fn moment(self) -> Option<Instant> {
        match self {
            Self::Now => None,
            Self::At(moment) | Self::Exactly(moment) => Some(moment),
        }
    }
}

/// When this is due.
pub(super) fn due(timed: &Timed, request_end: Instant) -> Due {
    match timed.due {
        None => Due::Now,
        Some(due) if timed.due == timed.natural => Due::At(moment(request_end, due)),
        Some(due) => Due::Exactly(moment(request_end, due)),
    }
}

/// So long after a start.
pub(super) fn moment(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or_else(|| start + FAR)
}

/// How long ago a moment was.
pub(super) fn since(moment: Instant) -> Duration {
    Instant::now().saturating_duration_since(moment)
}

/// Later than anyone waits, and still a moment: 30 years.
pub(super) const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
