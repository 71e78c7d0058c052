//! Cuts event streams between two events.

use std::time::Duration;

use bytes::Bytes;

use super::adaptive::Sizer;
use super::held::Held;
use super::settings::RechunkSettings;
use super::unit::{End, Ends, Unit};
use super::{HELD_MAX, SILENCE};
use crate::dialect::Dialect;
use crate::frames::sse::{RawFrame, SseEvent, SseSplitter};

/// Holds events until their text makes a chunk. An event without text is never held, and takes along what is.
#[derive(Debug)]
pub(super) struct Events {
    splitter: SseSplitter,
    dialect: Dialect,
    measure: Measure,
    held: Held,
    /// When the first of `held` came.
    since: Duration,
    /// When anything came last.
    last: Duration,
}

/// When a chunk is full.
#[derive(Debug)]
enum Measure {
    /// With each event.
    Event,
    /// By the length of its events.
    Bytes(usize),
    /// By their text.
    Text(Ends),
    /// By the number of events that are tokens.
    Tokens(Box<Sizer>, u32),
}

impl Events {
    pub(super) fn new(settings: &RechunkSettings, dialect: Dialect) -> Self {
        let measure = match settings {
            // An event with text is a token at least, and is not split.
            RechunkSettings::AsRecorded | RechunkSettings::Event | RechunkSettings::Token => {
                Measure::Event
            }
            RechunkSettings::Word => Measure::Text(Ends::new(Unit::Word)),
            RechunkSettings::Sentence => Measure::Text(Ends::new(Unit::Sentence)),
            RechunkSettings::Bytes(bytes) => Measure::Bytes(*bytes),
            RechunkSettings::Adaptive(adaptive) => {
                Measure::Tokens(Box::new(Sizer::new(*adaptive)), 0)
            }
        };
        Self {
            splitter: SseSplitter::new(FRAME_MAX),
            dialect,
            measure,
            held: Held::default(),
            since: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    pub(super) fn push(&mut self, now: Duration, bytes: &[u8], out: &mut Vec<Bytes>) {
        self.last = now;
        for frame in self.splitter.push(bytes) {
            self.event(now, frame, out);
        }
        // What came too late for its deadline goes with what has come since.
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.release(out);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.held.is_empty() {
            // A lone CR may end a frame, or be half of what does; a client takes it for the end.
            return self
                .splitter
                .is_ended()
                .then(|| self.last.saturating_add(self.patience()));
        }
        let from = match &self.measure {
            Measure::Tokens(..) => self.since,
            Measure::Event | Measure::Bytes(_) | Measure::Text(_) => self.last,
        };
        Some(from.saturating_add(self.patience()))
    }

    /// Writes what is held.
    pub(super) fn release(&mut self, out: &mut Vec<Bytes>) {
        if let Some(frame) = self.splitter.take_ended() {
            self.hold(self.last, frame);
        }
        self.flush(out);
    }

    pub(super) fn note_blocked(&mut self, is_blocked: bool) {
        if let Measure::Tokens(sizer, _) = &mut self.measure {
            sizer.note_blocked(is_blocked);
        }
    }

    pub(super) fn finish(&mut self, out: &mut Vec<Bytes>) {
        if let Some(rest) = self.splitter.finish() {
            // What is no whole event goes by itself: the one before it ends its write.
            if !rest.is_complete {
                self.flush(out);
            }
            self.hold(self.last, rest.bytes);
        }
        self.flush(out);
    }

    fn patience(&self) -> Duration {
        match &self.measure {
            Measure::Tokens(sizer, _) => sizer.target(),
            Measure::Event | Measure::Bytes(_) | Measure::Text(_) => SILENCE,
        }
    }

    fn event(&mut self, now: Duration, frame: RawFrame, out: &mut Vec<Bytes>) {
        let is_full = match &mut self.measure {
            Measure::Event => true,
            Measure::Bytes(bytes) => self.held.len() + frame.bytes.len() >= *bytes,
            Measure::Text(_) | Measure::Tokens(..) if !frame.is_complete => true,
            Measure::Text(ends) => {
                let event = SseEvent::parse(&frame.bytes);
                match self.dialect.meaning(&event).text {
                    Some(text) if !text.is_empty() => {
                        let mut is_full = false;
                        for (index, char) in text.chars().enumerate() {
                            match ends.step(char) {
                                Some(End::Before) if index == 0 => self.held.release(out),
                                Some(End::Before | End::After) => is_full = true,
                                None => {}
                            }
                        }
                        is_full
                    }
                    Some(_) | None => true,
                }
            }
            Measure::Tokens(sizer, count) => {
                if self.dialect.adds_token(&SseEvent::parse(&frame.bytes)) {
                    let is_first = sizer.token(now);
                    *count += 1;
                    is_first || *count >= sizer.size()
                } else {
                    true
                }
            }
        };
        self.hold(now, frame.bytes);
        if is_full || self.held.len() >= HELD_MAX {
            self.flush(out);
        }
    }

    fn hold(&mut self, now: Duration, bytes: Bytes) {
        if self.held.is_empty() {
            self.since = now;
        }
        self.held.add(bytes);
    }

    fn flush(&mut self, out: &mut Vec<Bytes>) {
        self.held.release(out);
        match &mut self.measure {
            Measure::Event | Measure::Bytes(_) => {}
            Measure::Text(ends) => ends.reset(),
            Measure::Tokens(_, count) => *count = 0,
        }
    }
}

/// A larger event goes in pieces, as it comes.
const FRAME_MAX: usize = 256 * 1024;
