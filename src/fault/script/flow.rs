//! How fast bytes go down: a bandwidth, or a body in so many pieces. Cuts cues to size when their turn comes.

use std::cmp::Reverse;
use std::time::Duration;

use super::Armed;
use crate::cue::{Cue, Timed};
use crate::fault::kind::Kind;
use crate::message::ResponseHead;

/// The faults on the speed of one answer.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The slowest first.
    bandwidths: Vec<Bandwidth>,
    /// The longest first.
    dribbles: Vec<Dribble>,
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
    /// How much of the body is to come. `None` where its length is not known: then a piece is a share of what has come.
    left: Option<u64>,
    /// How many pieces have begun.
    sent: u32,
    begun_at: Option<Duration>,
    /// When the piece is due that goes out now.
    due: Duration,
    /// What is still to come of that piece.
    room: usize,
}

/// What a fault lets go, and when.
struct Share {
    fault: usize,
    bytes: usize,
    due: Duration,
}

impl Flow {
    pub(super) fn new(armed: &[Armed]) -> Self {
        let mut flow = Self::default();
        for (fault, armed) in armed.iter().enumerate() {
            match &armed.kind {
                Kind::Bandwidth {
                    down: Some(rate), ..
                } => flow.bandwidths.push(Bandwidth {
                    fault,
                    rate: rate.0.max(1),
                    free_at: Duration::ZERO,
                }),
                Kind::Dribble { pieces, over } => flow.dribbles.push(Dribble {
                    fault,
                    pieces: (*pieces).max(1),
                    over: over.0,
                    left: None,
                    sent: 0,
                    begun_at: None,
                    due: Duration::ZERO,
                    room: 0,
                }),
                _ => {}
            }
        }
        flow.bandwidths.sort_by_key(|bandwidth| bandwidth.rate);
        flow.dribbles.sort_by_key(|dribble| Reverse(dribble.over));
        flow
    }

    pub(super) fn head(&mut self, head: &ResponseHead) {
        let length: Option<u64> = head
            .headers
            .get_str("content-length")
            .and_then(|length| length.parse().ok());
        for dribble in &mut self.dribbles {
            dribble.left = length;
        }
    }

    /// Whether it is good to know what the source has to say next: how large a piece is depends on it.
    pub(super) fn looks_ahead(&self) -> bool {
        self.dribbles.first().is_some_and(|dribble| {
            dribble.left.is_none() && dribble.begun_at.is_some() && dribble.sent < dribble.pieces
        })
    }

    /// Whether the next piece of a dribble is to be measured.
    pub(super) fn is_between(&self) -> bool {
        self.dribbles
            .first()
            .is_some_and(|dribble| dribble.room == 0)
    }

    /// What of a cue may go next, and what is left of it. `behind` is how many bytes follow it that have come already.
    pub(super) fn cut(
        &mut self,
        mut timed: Timed,
        behind: usize,
        now: Duration,
    ) -> (Timed, Option<Timed>) {
        let Cue::Send(bytes) = &mut timed.cue else {
            return (timed, None);
        };
        let natural = timed.due.unwrap_or(now);
        let dribbled = self.dribbles.first_mut().and_then(|dribble| {
            dribble.share(
                bytes.len(),
                bytes.len().saturating_add(behind),
                natural.max(now),
            )
        });
        let size = dribbled.as_ref().map_or(bytes.len(), |share| share.bytes);
        let bound = self
            .bandwidths
            .first_mut()
            .map(|bandwidth| bandwidth.share(size, natural));
        let size = bound.as_ref().map_or(size, |share| share.bytes);
        if let (Some(dribble), Some(_)) = (self.dribbles.first_mut(), &dribbled) {
            dribble.passed(size);
        }
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
        // The later one says when.
        if let Some(share) = [dribbled, bound]
            .into_iter()
            .flatten()
            .max_by_key(|share| share.due)
        {
            timed.fault = Some(share.fault);
            // What comes later by itself is not late by the fault.
            if share.due > natural {
                timed.due = Some(share.due);
            }
        }
        (timed, rest)
    }

    /// The faults that slow down a body of which something was sent.
    pub(super) fn begun(&self) -> impl Iterator<Item = usize> {
        self.dribbles
            .first()
            .filter(|dribble| dribble.begun_at.is_some())
            .map(|dribble| dribble.fault)
            .into_iter()
            .chain(self.bandwidths.first().map(|bandwidth| bandwidth.fault))
    }

    pub(super) fn lift(&mut self, fault: usize) {
        self.bandwidths.retain(|bandwidth| bandwidth.fault != fault);
        self.dribbles.retain(|dribble| dribble.fault != fault);
    }
}

impl Dribble {
    /// What of so many bytes may go; `come` are all that have come. `None` when the last piece is out.
    fn share(&mut self, bytes: usize, come: usize, now: Duration) -> Option<Share> {
        if self.room == 0 {
            let left = self
                .pieces
                .checked_sub(self.sent)
                .filter(|left| *left > 0)?;
            let begun_at = *self.begun_at.get_or_insert(now);
            let steps = self.pieces.saturating_sub(1).max(1);
            self.due = begun_at + self.over * self.sent / steps;
            let to_come = self
                .left
                .map_or(come, |left| usize::try_from(left).unwrap_or(usize::MAX));
            self.room = match left {
                1 => usize::MAX,
                _ => to_come.div_ceil(left as usize).max(1),
            };
            self.sent += 1;
        }
        Some(Share {
            fault: self.fault,
            bytes: bytes.min(self.room),
            due: self.due,
        })
    }

    fn passed(&mut self, bytes: usize) {
        // The last piece takes all that comes.
        if self.room != usize::MAX {
            self.room = self.room.saturating_sub(bytes);
        }
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
    }
}

impl Bandwidth {
    /// What of so many bytes may go.
    fn share(&mut self, bytes: usize, now: Duration) -> Share {
        let most = usize::try_from(self.rate / REFILLS)
            .unwrap_or(usize::MAX)
            .max(1);
        let due = self.free_at.max(now);
        let bytes = bytes.min(most);
        self.free_at = due + Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.rate);
        Share {
            fault: self.fault,
            bytes,
            due,
        }
    }
}

/// How often in a second the bucket is filled: every 5 ms, as a coarser one is bursty.
const REFILLS: u64 = 200;
