//! The body on its way through the faults: taken apart, edited, and looked at.

use bytes::Bytes;

use super::clock::When;
use super::edits::Piece;
use super::places::Place;
use super::units::{BrokenEncoding, Unit};
use super::{Moment, Script};
use crate::cue::{Cue, Timed};
use crate::dialect::Part;
use crate::dialect::usage::Usage;
use crate::fault::kind::{How, Kind};
use crate::frames::sse::SseEvent;
use crate::message::Ending;

impl Script {
    /// Bytes of the body.
    pub(super) fn chunk(&mut self, moment: Moment, bytes: Bytes) {
        let Some(mut units) = self.units.take() else {
            return;
        };
        let pushed = units.push(bytes);
        self.units = Some(units);
        self.units(moment, pushed);
    }

    /// What was held of the body.
    pub(super) fn rest(&mut self, moment: Moment) {
        if let Some(mut units) = self.units.take() {
            let rest = units.finish();
            self.units(moment, rest);
        }
        let held = self.edits.finish();
        let when = self.clock.unit(moment, None);
        self.write(when, held);
    }

    fn units(&mut self, moment: Moment, units: Result<Vec<Unit>, BrokenEncoding>) {
        match units {
            Ok(units) => {
                for unit in units {
                    self.unit(moment, unit);
                }
            }
            Err(BrokenEncoding) if !self.is_over => {
                self.push(Timed::now(Cue::End(Ending::Malformed)));
                self.is_over = true;
            }
            Err(BrokenEncoding) => {}
        }
    }

    pub(super) fn unit(&mut self, moment: Moment, mut unit: Unit) {
        if !self.is_over {
            let seen = self.progress.seen;
            if self.is_idle() {
                self.fire(&Place::Time(self.clock.when(moment)), When::default());
            }
            self.fire_before(unit.part);
            if self.is_over {
                // It has not come yet, should it come after all.
                self.progress.seen = seen;
            }
        }
        if self.is_over {
            self.withheld.unit(moment, unit);
            return;
        }
        if self.is_left_out(unit.part) {
            return;
        }
        // A position in bytes may fall inside.
        while let Some(at) = self
            .next_byte_position()
            .filter(|at| *at < self.progress.bytes + unit.bytes.len() as u64)
        {
            let length = usize::try_from(at - self.progress.bytes).unwrap_or(usize::MAX);
            let before = unit.bytes.split_to(length);
            self.send(
                moment,
                &Piece {
                    bytes: before,
                    number: self.progress.events + 1,
                    // Half an event is nothing that could be edited.
                    part: None,
                    is_whole: false,
                },
            );
            unit.part = None;
            unit.is_whole = false;
            self.fire_after();
            if self.is_over {
                self.withheld.unit(moment, unit);
                return;
            }
        }
        if unit.is_event {
            self.progress.events += 1;
        }
        let piece = Piece {
            bytes: unit.bytes,
            number: self.progress.events,
            part: unit.part,
            is_whole: unit.is_whole,
        };
        self.send(moment, &piece);
        self.fire_after();
    }

    /// Whether this is the terminator, and a fault wants none.
    fn is_left_out(&mut self, part: Option<Part>) -> bool {
        let missing = self
            .waiting()
            .find(|(_, kind)| {
                matches!(
                    kind,
                    Kind::Cut {
                        how: How::MissingTerminator,
                        ..
                    }
                )
            })
            .map(|(fault, _)| fault)
            .filter(|_| part == Some(Part::Terminator));
        if let Some(fault) = missing {
            self.mark_injected(fault);
        }
        missing.is_some()
    }

    /// Sends a piece of the body, with what is done to it.
    fn send(&mut self, moment: Moment, piece: &Piece) {
        if piece.bytes.is_empty() {
            return;
        }
        self.progress.bytes += piece.bytes.len() as u64;
        self.look(piece);
        let when = self.clock.unit(moment, piece.part);
        self.mark_begun();
        let writes = self.edits.apply(self.scene.asked.dialect, piece);
        self.write(when, writes);
    }

    fn write(&mut self, when: When, writes: Vec<Bytes>) {
        for fault in self.edits.begun() {
            self.mark_injected(fault);
        }
        let mut when = when;
        for bytes in writes {
            self.push(when.of(Cue::Send(bytes)));
            // Writes of one piece stay apart on the wire.
            when = when.apart();
        }
    }

    /// Notes what a piece says of tokens and of the stream.
    fn look(&mut self, piece: &Piece) {
        let wants_place = self
            .effects
            .iter()
            .any(|effect| matches!(effect.kind, Kind::ErrorEvent { .. }));
        if !self.scene.counts_tokens && !wants_place {
            return;
        }
        let data = match piece.part {
            Some(_) => SseEvent::parse(&piece.bytes).data,
            None if piece.is_whole => Some(String::from_utf8_lossy(&piece.bytes)),
            None => None,
        };
        let Some(data) = data else { return };
        if wants_place && piece.part.is_some() {
            self.place.see(&data);
        }
        if let Some(later) = Usage::of(self.scene.asked.dialect, &data) {
            self.usage.get_or_insert(later).update(later);
        }
    }

    /// How many tokens the answer says that were used.
    pub fn used_tokens(&self) -> Option<u64> {
        self.usage.and_then(Usage::total)
    }

    /// The same, once nothing can be said of it any more: at the end of a stream, or with the whole of another body.
    pub fn used_in_all(&self) -> Option<u64> {
        self.used_tokens()
            .filter(|_| self.is_over || !self.is_stream)
    }
}
