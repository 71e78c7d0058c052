//! Rechunking and, for live answers, the pace: what the shape of an answer makes of the cues of its faults.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::cue::{Cue, Timed};
use crate::dialect::Dialect;
use crate::fault::script::Moment;
use crate::message::ResponseHead;
use crate::shape::pacer::Pacer;
use crate::shape::rechunk::{Rechunk, RechunkSettings};
use crate::source::What;

/// The shape of one answer.
#[derive(Debug)]
pub struct Shape {
    settings: RechunkSettings,
    dialect: Dialect,
    /// Made when the head is known.
    rechunk: Option<Rechunk>,
    /// Of a live answer; others are paced at their source.
    pacer: Option<Pacer>,
    /// Whether the pace was kept before the faults.
    is_planned: bool,
}

impl Shape {
    /// Of an answer in this dialect.
    pub(crate) fn new(settings: &RechunkSettings, dialect: Dialect, pacer: Option<Pacer>) -> Self {
        Self {
            settings: settings.clone(),
            dialect,
            rechunk: None,
            pacer,
            is_planned: false,
        }
    }

    /// Plans a step of a live answer for its time before the faults see it, as a replay is planned at its source: what a fault
    /// adds is then added to the pace, and not lost in it.
    pub(super) fn plan(&mut self, moment: &mut Moment, what: &What) {
        let Some(pacer) = &mut self.pacer else {
            return;
        };
        self.is_planned = true;
        let due = match what {
            What::Head(head) => pacer.head(moment.at, head, None),
            What::Chunk(bytes, _) => pacer.chunk(moment.at, bytes),
            What::Trailers(_) | What::End(_) => pacer.end(moment.at),
            What::Interim(_) | What::Failed(_) | What::Unreadable(_) => None,
        };
        if let Some(at) = due {
            *moment = Moment { at, is_live: false };
        }
    }

    /// The pacer, where the pace is still to be kept.
    fn pacer(&mut self) -> Option<&mut Pacer> {
        self.pacer.as_mut().filter(|_| !self.is_planned)
    }

    /// Takes what is to be done now, and adds what becomes of it to `shaped`.
    pub(super) fn take(&mut self, now: Duration, timed: Timed, shaped: &mut VecDeque<Timed>) {
        match timed.cue {
            Cue::Head(head, drip) => {
                self.rechunk = Some(self.for_head(&head));
                let due = self.pacer().and_then(|pacer| pacer.head(now, &head, None));
                shaped.push_back(Timed {
                    due,
                    natural: due,
                    cue: Cue::Head(head, drip),
                    ..timed
                });
            }
            Cue::Send(bytes) => {
                let mut writes = Vec::new();
                match &mut self.rechunk {
                    Some(rechunk) => rechunk.push(now, bytes, &mut writes),
                    None => writes.push(bytes),
                }
                self.write(now, writes, shaped);
            }
            Cue::Hold(_) | Cue::Trailers(_) | Cue::End(_) | Cue::Cut(_) => {
                let mut writes = Vec::new();
                if let Some(rechunk) = &mut self.rechunk {
                    rechunk.finish(&mut writes);
                }
                self.write(now, writes, shaped);
                let due = match (&timed.cue, self.pacer()) {
                    (Cue::End(_) | Cue::Trailers(_), Some(pacer)) => pacer.end(now),
                    _ => None,
                };
                shaped.push_back(Timed {
                    due,
                    natural: due,
                    ..timed
                });
            }
        }
    }

    /// When something that is held has to go.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.rechunk.as_ref()?.deadline()
    }

    /// It is so late.
    pub(super) fn tick(&mut self, now: Duration, shaped: &mut VecDeque<Timed>) {
        let mut writes = Vec::new();
        if let Some(rechunk) = &mut self.rechunk {
            rechunk.tick(now, &mut writes);
        }
        self.write(now, writes, shaped);
    }

    /// A write took so long.
    pub(super) fn note_write(&mut self, took: Duration) {
        if let Some(rechunk) = &mut self.rechunk {
            rechunk.note_blocked(took > BLOCKED);
        }
    }

    fn write(&mut self, now: Duration, writes: Vec<Bytes>, shaped: &mut VecDeque<Timed>) {
        for bytes in writes {
            let due = self.pacer().and_then(|pacer| pacer.chunk(now, &bytes));
            shaped.push_back(Timed {
                due,
                natural: due,
                fault: None,
                is_apart: true,
                cue: Cue::Send(bytes),
            });
        }
    }

    fn for_head(&self, head: &ResponseHead) -> Rechunk {
        let is_encoded = head
            .headers
            .get_str("content-encoding")
            .is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
        if is_encoded && !matches!(self.settings, RechunkSettings::Bytes(_)) {
            // There are no words in it, even where its bytes look like some.
            return Rechunk::new(&RechunkSettings::AsRecorded, false, self.dialect);
        }
        let is_event_stream = head.media_type().as_deref() == Some("text/event-stream");
        Rechunk::new(&self.settings, is_event_stream && !is_encoded, self.dialect)
    }
}

/// A write to a socket that has room takes microseconds.
const BLOCKED: Duration = Duration::from_millis(2);
