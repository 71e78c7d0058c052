//! What a fault does when its place is reached.

use bytes::Bytes;

use super::Script;
use super::clock::When;
use crate::cue::{Cue, Cut, Silence};
use crate::fault::edit::corrupt::Corrupter;
use crate::fault::kind::{How, KeepAlive, Kind, Then};
use crate::fault::provider;
use crate::message::Ending;

impl Script {
    /// Has this fault act.
    pub(super) fn act(&mut self, fault: usize, kind: &Kind, when: When) {
        match kind {
            Kind::Stall {
                time,
                keepalive,
                every,
                ..
            } => {
                let noise = self.noise(*keepalive).map(|bytes| (bytes, every.0));
                let time = time.map(|time| time.0);
                self.say(fault, when, Cue::Hold(Silence { time, noise }));
            }
            Kind::HoldOpen(time) => {
                let time = time.map(|time| time.0);
                let noise = None;
                self.say(fault, when, Cue::Hold(Silence { time, noise }));
            }
            Kind::Cut { how, .. } => {
                let is_for_connection = self
                    .effects
                    .get(fault)
                    .is_some_and(|effect| effect.is_for_connection);
                let cut = cut_of(*how, is_for_connection);
                self.last(fault, when, cut);
            }
            // Elsewhere there is no place for it.
            Kind::ErrorEvent {
                error, style, then, ..
            } if self.is_stream => {
                let frames = provider::event(*error, &self.scene.context(), &self.place, *style);
                self.say(fault, when, Cue::Send(Bytes::from(frames)));
                self.follow_up(fault, when, *then);
            }
            Kind::Corrupt { count, unit, .. } => {
                if let Some(effect) = self.effects.get(fault) {
                    let corrupter = Corrupter::new(*count, *unit);
                    self.edits.corrupt(fault, corrupter, effect.chance.clone());
                }
            }
            Kind::MalformedChunk { .. } => {
                let garbage = Bytes::from_static(MALFORMED_CHUNK);
                self.last(fault, when, Cue::Cut(Cut::Garbage(garbage)));
            }
            _ => {}
        }
    }

    /// What follows an event of error.
    fn follow_up(&mut self, fault: usize, when: When, then: Then) {
        match then {
            Then::Continue => {}
            Then::End => self.last(fault, when, Cue::End(Ending::Complete)),
            Then::Close => self.last(fault, when, Cue::Cut(Cut::Close)),
        }
    }

    /// What hides a silence, if this dialect has it.
    fn noise(&self, keepalive: KeepAlive) -> Option<Bytes> {
        let dialect = self.scene.asked.dialect;
        let frame = match keepalive {
            KeepAlive::None => None,
            KeepAlive::Comment => dialect.comment(),
            KeepAlive::Ping => dialect.ping(),
        };
        frame.filter(|_| self.is_stream).map(Bytes::from_static)
    }
}

fn cut_of(how: How, is_for_connection: bool) -> Cue {
    Cue::Cut(match how {
        How::CleanEnd | How::MissingTerminator => return Cue::End(Ending::Complete),
        How::MissingLastChunk => Cut::Close,
        How::CloseFramed | How::ShortBody => Cut::Fin,
        How::Reset if is_for_connection => Cut::ResetConnection,
        How::Reset => Cut::Reset,
        How::H2Reset(code) => Cut::H2Reset(code),
        How::GoAway(code) => Cut::GoAway(code),
    })
}

/// The size of a chunk, in letters that are no digits.
const MALFORMED_CHUNK: &[u8] = b"ZZ\r\nnot a chunk\r\n";
