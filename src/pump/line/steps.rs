//! What the steps of a source are as cues, and when they come.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::cue::Cue;
use crate::fault::script::Moment;
use crate::source::{Step, What};

/// When a step of the answer is due, from the end of the request.
pub(super) fn due_of(step: &Step, request_end: Instant) -> Option<Duration> {
    step.due
        .map(|due| due.saturating_duration_since(request_end))
}

/// When a step came or is due, for faults.
pub(super) fn moment_of(step: &Step, request_end: Instant) -> Moment {
    let due = due_of(step, request_end);
    Moment {
        at: due.unwrap_or_else(|| {
            step.came
                .unwrap_or_else(Instant::now)
                .saturating_duration_since(request_end)
        }),
        is_live: due.is_none(),
    }
}

/// A step as a cue; `room` becomes what a chunk takes of what may wait. Gives back what is no part of an answer.
pub(super) fn cue_of(step: Step, room: &mut Option<OwnedSemaphorePermit>) -> Result<Cue, Step> {
    match step.what {
        What::Head(head) => Ok(Cue::Head(head, None)),
        What::Chunk(bytes, taken) => {
            *room = taken;
            Ok(Cue::Send(bytes))
        }
        What::Trailers(trailers) => Ok(Cue::Trailers(trailers)),
        What::End(ending) => Ok(Cue::End(ending)),
        What::Interim(_) | What::Failed(_) | What::Unreadable(_) => Err(step),
    }
}
