//! Cuts plain bodies between two characters.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::adaptive::Sizer;
use super::settings::RechunkSettings;
use super::unit::{End, Ends, Unit};
use super::{HELD_MAX, SILENCE};
use crate::frames::utf8::{is_continuation, unfinished};
use crate::tokens;

/// Holds text until it makes a chunk. What turns out to be no UTF-8 goes as it came, unless it is cut by bytes.
#[derive(Debug)]
pub(super) struct Text {
    measure: Measure,
    held: BytesMut,
    /// How much of `held` was looked at; ends between two characters. `seen <= held.len()`
    seen: usize,
    since: Duration,
    last: Duration,
}

#[derive(Debug)]
enum Measure {
    /// As it came, as it is no text.
    Through,
    Bytes(usize),
    Token,
    Text(Ends),
    /// By the number of pieces that came.
    Pieces(Box<Sizer>, u32),
}

impl Text {
    pub(super) fn new(settings: &RechunkSettings) -> Self {
        let measure = match settings {
            RechunkSettings::AsRecorded | RechunkSettings::Event => Measure::Through,
            RechunkSettings::Token => Measure::Token,
            RechunkSettings::Word => Measure::Text(Ends::new(Unit::Word)),
            RechunkSettings::Sentence => Measure::Text(Ends::new(Unit::Sentence)),
            RechunkSettings::Bytes(bytes) => Measure::Bytes(*bytes),
            RechunkSettings::Adaptive(adaptive) => {
                Measure::Pieces(Box::new(Sizer::new(*adaptive)), 0)
            }
        };
        Self {
            measure,
            held: BytesMut::new(),
            seen: 0,
            since: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    pub(super) fn push(&mut self, now: Duration, bytes: Bytes, out: &mut Vec<Bytes>) {
        self.last = now;
        if matches!(self.measure, Measure::Through) {
            out.push(bytes);
            return;
        }
        if self.seen == 0 {
            self.since = now;
        }
        self.held.extend_from_slice(&bytes);
        if let Measure::Bytes(size) = self.measure {
            self.cut_by_bytes(size, out);
        } else if let Some(count) = sound(&self.held[self.seen..]) {
            self.look(now, self.seen + count, out);
        } else {
            self.measure = Measure::Through;
            self.seen = self.held.len();
        }
        let is_late = self.deadline().is_some_and(|deadline| deadline <= now);
        if matches!(self.measure, Measure::Through) || is_late || self.held.len() >= HELD_MAX {
            self.release(out);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.seen == 0 {
            return None;
        }
        Some(match &self.measure {
            Measure::Pieces(sizer, _) => self.since.saturating_add(sizer.target()),
            Measure::Through | Measure::Bytes(_) | Measure::Token | Measure::Text(_) => {
                self.last.saturating_add(SILENCE)
            }
        })
    }

    /// Writes what is held, up to the last whole character.
    pub(super) fn release(&mut self, out: &mut Vec<Bytes>) {
        self.cut(self.seen, out);
        match &mut self.measure {
            Measure::Through | Measure::Bytes(_) | Measure::Token => {}
            Measure::Text(ends) => ends.reset(),
            Measure::Pieces(_, count) => *count = 0,
        }
    }

    pub(super) fn note_blocked(&mut self, is_blocked: bool) {
        if let Measure::Pieces(sizer, _) = &mut self.measure {
            sizer.note_blocked(is_blocked);
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Bytes>) {
        self.seen = self.held.len();
        self.release(out);
    }

    /// Looks at the characters up to `end`, which is between two of them, and cuts what is full.
    fn look(&mut self, now: Duration, end: usize, out: &mut Vec<Bytes>) {
        let fresh = self.held.get(self.seen..end).unwrap_or_default();
        let fresh = std::str::from_utf8(fresh).unwrap_or_default();
        if fresh.is_empty() {
            return;
        }
        let start = self.seen;
        let cuts = match &mut self.measure {
            Measure::Through | Measure::Bytes(_) => Vec::new(),
            Measure::Token => tokens::ends(fresh),
            Measure::Text(ends) => fresh
                .char_indices()
                .filter_map(|(at, char)| match ends.step(char)? {
                    End::Before => Some(at),
                    End::After => Some(at + char.len_utf8()),
                })
                .collect(),
            Measure::Pieces(sizer, count) => {
                let is_first = sizer.token(now);
                *count += 1;
                if is_first || *count >= sizer.size() {
                    *count = 0;
                    vec![fresh.len()]
                } else {
                    Vec::new()
                }
            }
        };
        let mut gone = 0;
        for cut in cuts {
            self.cut(start + cut - gone, out);
            gone = start + cut;
        }
        self.seen = end - gone;
        if gone > 0 {
            self.since = now;
        }
    }

    fn cut_by_bytes(&mut self, size: usize, out: &mut Vec<Bytes>) {
        while self.held.len() >= size {
            let rest = self.held.get(size..).unwrap_or_default();
            let more = rest
                .iter()
                .take(3)
                .take_while(|byte| is_continuation(**byte))
                .count();
            if more == rest.len() && unfinished(&self.held) > 0 {
                // The rest of the last character may be on its way.
                break;
            }
            self.cut(size + more, out);
        }
        self.seen = self.held.len() - unfinished(&self.held);
    }

    fn cut(&mut self, at: usize, out: &mut Vec<Bytes>) {
        let piece = self.held.split_to(at.min(self.held.len())).freeze();
        self.seen = self.seen.saturating_sub(piece.len());
        if !piece.is_empty() {
            out.push(piece);
        }
    }
}

/// How much of it is whole characters; what is left may become one. `None`: it is no UTF-8, and can't become it.
fn sound(bytes: &[u8]) -> Option<usize> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.len()),
        Err(error) if error.error_len().is_none() => Some(error.valid_up_to()),
        Err(_) => None,
    }
}
