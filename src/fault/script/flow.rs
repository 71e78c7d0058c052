//! How fast bytes go down: a bandwidth, or a body in so many pieces. Cuts cues to size when their turn comes.

use std::time::Duration;

use super::Armed;
use crate::cue::{Cue, Timed};
use crate::fault::kind::Kind;
use crate::message::ResponseHead;

/// The faults on the speed of one answer.
#[derive(Debug, Default)]
pub(super) struct Flow {
    bandwidth: Option<Bandwidth>,
    dribble: Option<Dribble>,
}

#[derive(Debug)]
struct Bandwidth {
    fault: usize,
    /// Bytes a second, at least 1.
    rate: u64,
    /// When the next byte may go.
    free_at: Duration,
}

#[derive(Debug)]
struct Dribble {
    fault: usize,
    pieces: u32,
    over: Duration,
    /// Bytes of a piece. `None` where the length is not known: then each piece of the source's is one.
    size: Option<usize>,
    sent: u32,
    begun_at: Option<Duration>,
}

impl Flow {
    pub(super) fn new(armed: &[Armed]) -> Self {
        let mut flow = Self::default();
        for (fault, armed) in armed.iter().enumerate() {
            match &armed.kind {
                Kind::Bandwidth {
                    down: Some(rate), ..
                } => {
                    flow.bandwidth = Some(Bandwidth {
                        fault,
                        rate: rate.0.max(1),
                        free_at: Duration::ZERO,
                    });
                }
                Kind::Dribble { pieces, over } => {
                    flow.dribble = Some(Dribble {
                        fault,
                        pieces: (*pieces).max(1),
                        over: over.0,
                        size: None,
                        sent: 0,
                        begun_at: None,
                    });
                }
                _ => {}
            }
        }
        flow
    }

    pub(super) fn head(&mut self, head: &ResponseHead) {
        if let Some(dribble) = &mut self.dribble {
            let length: Option<usize> = head
                .headers
                .get_str("content-length")
                .and_then(|length| length.parse().ok());
            dribble.size = length.map(|length| length.div_ceil(dribble.pieces as usize).max(1));
        }
    }

    /// What of a cue may go next, and what is left of it.
    pub(super) fn cut(&mut self, mut timed: Timed, now: Duration) -> (Timed, Option<Timed>) {
        let Cue::Send(bytes) = &mut timed.cue else {
            return (timed, None);
        };
        let (size, fault, due) = match (&mut self.dribble, &mut self.bandwidth) {
            (Some(dribble), _) if dribble.sent < dribble.pieces => {
                let begun_at = *dribble
                    .begun_at
                    .get_or_insert(now.max(timed.due.unwrap_or(now)));
                let due = begun_at
                    + dribble.over * dribble.sent / dribble.pieces.saturating_sub(1).max(1);
                dribble.sent += 1;
                (dribble.size.unwrap_or(usize::MAX), dribble.fault, due)
            }
            (_, Some(bandwidth)) => {
                let size = usize::try_from(bandwidth.rate / REFILLS)
                    .unwrap_or(usize::MAX)
                    .max(1);
                let due = bandwidth.free_at.max(timed.due.unwrap_or(now));
                let count = size.min(bytes.len()) as u64;
                bandwidth.free_at =
                    due + Duration::from_nanos(count * 1_000_000_000 / bandwidth.rate);
                (size, bandwidth.fault, due)
            }
            _ => return (timed, None),
        };
        let rest = (bytes.len() > size).then(|| {
            let rest = bytes.split_off(size);
            Timed {
                due: timed.due,
                natural: timed.natural,
                fault: timed.fault,
                is_apart: true,
                cue: Cue::Send(rest),
            }
        });
        if timed.due.is_none_or(|have| due > have) {
            timed.due = Some(due);
            timed.fault = Some(fault);
        }
        (timed, rest)
    }

    pub(super) fn lift(&mut self, fault: usize) {
        self.bandwidth = self
            .bandwidth
            .take()
            .filter(|bandwidth| bandwidth.fault != fault);
        self.dribble = self.dribble.take().filter(|dribble| dribble.fault != fault);
    }
}

/// How often in a second the bucket is filled: every 5 ms, as a coarser one is bursty.
const REFILLS: u64 = 200;
