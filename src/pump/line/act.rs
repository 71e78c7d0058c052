//! What is to be done for the client, and the doing of it.
//!
//! When it is to be done is known before. What leaves together is found out here, as late as possible.

use bytes::Bytes;
use tokio::time::Instant;

use super::Line;
use super::doing::Doing;
use super::due::since;
use crate::call::UpstreamError;
use crate::cue::{Cue, Cut, Drip, Timed};
use crate::message::{Ending, FAULT_HEADER, Headers, ResponseHead};
use crate::pump::{Client, Left, Outcome, Tally};
use crate::source::Source;

/// What is to be done for the client.
pub(in crate::pump) enum Act {
    Nothing,
    /// What passed all stages.
    Carry(Timed),
    /// More of what takes its time.
    GoOn(Doing),
    /// Send an interim head.
    Interim(ResponseHead),
    /// Nothing more is to come from this source.
    GiveUp(Outcome),
    /// There is no answer.
    Fail(UpstreamError),
    /// The source can't be read on.
    BreakOff(String),
}

/// How one step went: the outcome, if it was the last.
type Went = Result<Option<Outcome>, Left>;

impl Line<'_> {
    /// Does it.
    pub(in crate::pump) async fn act<C: Client>(
        &mut self,
        act: Act,
        client: &mut C,
        source: &mut Source,
        marks: &Headers,
        tally: &mut Tally,
    ) -> Went {
        let timed = match act {
            Act::Nothing => return Ok(None),
            Act::Carry(timed) => timed,
            Act::GoOn(doing) => return self.go_on(doing, client, tally).await.map(|()| None),
            Act::Interim(head) => return client.interim(&head).await.map(|()| None),
            Act::GiveUp(outcome) => return Ok(Some(outcome)),
            Act::Fail(error) => return Ok(Some(Outcome::NoAnswer(error))),
            Act::BreakOff(reason) => {
                client.cut(Cut::Close).await;
                return Ok(Some(Outcome::SourceFailed(reason)));
            }
        };
        let intended = timed.due.filter(|_| timed.due != timed.natural);
        let outcome = match timed.cue {
            Cue::Send(bytes) => {
                tally.bytes += bytes.len() as u64;
                tally.chunks += 1;
                self.send(bytes, client, source).await?;
                None
            }
            Cue::Head(mut head, drip) => {
                mark(&mut head, marks);
                tally.status = Some(head.status);
                self.head(&head, drip, timed.fault, client, source).await?;
                tally.first_byte = Some(since(self.request_end));
                None
            }
            Cue::Hold(silence) => {
                self.begin(silence, timed.fault);
                None
            }
            Cue::Trailers(trailers) => {
                client.trailers(&trailers).await?;
                None
            }
            Cue::End(ending) => {
                self.settle();
                Some(end(ending, client).await?)
            }
            Cue::Cut(cut) => {
                client.cut(cut).await;
                Some(Outcome::Cut)
            }
        };
        if let (Some(intended), Some(fault)) = (intended, timed.fault) {
            self.note(fault, self.moment(intended));
        }
        Ok(outcome)
    }

    /// Sends a piece of the body.
    async fn send<C: Client>(
        &mut self,
        bytes: Bytes,
        client: &mut C,
        source: &mut Source,
    ) -> Result<(), Left> {
        self.look_ahead(source).await;
        self.settle();
        let more = self.has_more(source);
        let begun = self.stages.shape.is_some().then(Instant::now);
        client.write(bytes, more).await?;
        if let (Some(begun), Some(shape)) = (begun, &mut self.stages.shape) {
            shape.note_write(begun.elapsed());
        }
        Ok(())
    }

    /// Sends the head, or begins to, where it goes out in drips.
    async fn head<C: Client>(
        &mut self,
        head: &ResponseHead,
        drip: Option<Drip>,
        fault: Option<usize>,
        client: &mut C,
        source: &mut Source,
    ) -> Result<(), Left> {
        let drip = drip.filter(|_| client.hold_back());
        self.look_ahead(source).await;
        let more = drip.is_none() && self.has_more(source);
        client.head(head, more).await?;
        match drip {
            None => self.release_with_head(),
            Some(drip) => {
                self.doing = Some(Doing::Drip {
                    drip,
                    next: Instant::now(),
                    fault,
                });
            }
        }
        Ok(())
    }

    /// Feeds the faults with what the source has ready, if they have nothing else: what leaves together is known only then.
    async fn look_ahead(&mut self, source: &mut Source) {
        let request_end = self.request_end;
        let is_idle = self.stages.faults.as_mut().is_some_and(|faults| {
            !faults.script.is_over() && faults.script.next(since(request_end)).is_none()
        });
        if !is_idle
            || self.stages.shape.is_some()
            || self.ahead.is_some()
            || !source.is_ready(request_end)
        {
            return;
        }
        let step = source.next(request_end).await;
        self.ahead = self.feed(step);
    }

    /// Whether a write follows at once, so that both may leave together.
    fn has_more(&mut self, source: &Source) -> bool {
        let request_end = self.request_end;
        if let Some(timed) = self.shaped.front() {
            return timed.due.is_none_or(|due| due <= since(request_end));
        }
        if self.stages.shape.is_some() {
            // The next write is as far away as the shape wants.
            return false;
        }
        match &mut self.stages.faults {
            Some(faults) => match faults.script.next(since(request_end)) {
                Some(timed) => {
                    !timed.is_apart
                        && !matches!(timed.cue, Cue::Hold(_) | Cue::Cut(_))
                        && timed.due.is_none_or(|due| due <= since(request_end))
                }
                // What the source says next may begin with a silence.
                None => false,
            },
            None => source.is_ready(request_end),
        }
    }
}

/// Puts headers of ours into a head.
pub(in crate::pump) fn mark(head: &mut ResponseHead, marks: &Headers) {
    for (name, value) in marks.iter() {
        // Faults of another rehearsal upstream have hit the answer too.
        if name == FAULT_HEADER {
            head.headers.push(name, value.clone());
        } else {
            head.headers.set(name, value.clone());
        }
    }
}

/// Ends the answer as its source ended.
pub(in crate::pump) async fn end<C: Client>(
    ending: Ending,
    client: &mut C,
) -> Result<Outcome, Left> {
    if ending == Ending::Complete {
        client.end().await?;
        return Ok(Outcome::Completed);
    }
    let how = if ending == Ending::Reset {
        Cut::Reset
    } else {
        Cut::Close
    };
    client.cut(how).await;
    Ok(Outcome::UpstreamFailed(ending))
}
