//! A made-up answer as it is played.

use std::ops::Range;
use std::time::Duration;

use super::{Position, What};
use crate::message::{Ending, ResponseHead};
use crate::shape::pacer::Pacer;
use crate::synth::{Answer, Chunks};

/// A made-up answer as it is played.
pub struct Synth {
    /// Until it was said.
    head: Option<Box<ResponseHead>>,
    chunks: Chunks,
    /// Which of them say a token each, if they do.
    tokens: Option<Range<usize>>,
    pacer: Pacer,
    /// When the last step was due.
    said: Option<Duration>,
    position: Position,
    /// When the next step is due, from the end of the request; `None` for at once.
    due: Option<Duration>,
}

impl Synth {
    /// From the beginning, in this pace.
    pub fn new(answer: Answer, pacer: Pacer) -> Self {
        let mut synth = Self {
            head: Some(Box::new(answer.head)),
            chunks: answer.chunks,
            tokens: answer.tokens,
            pacer,
            said: None,
            position: Position::Head,
            due: None,
        };
        synth.due = synth.pace();
        synth
    }

    /// When the next step is due, and when the last one was.
    pub(super) fn dues(&self) -> (Option<Duration>, Option<Duration>) {
        (self.due, self.said)
    }

    /// What there is to do next.
    pub(super) fn say(&mut self) -> What {
        let what = self.take();
        self.said = self.due;
        self.due = self.pace();
        what
    }

    /// The next step; after it the one that follows is the next.
    fn take(&mut self) -> What {
        match self.position {
            Position::Head => {
                self.position = Position::Item(0);
                if let Some(head) = self.head.take() {
                    return What::Head(head);
                }
                self.take()
            }
            Position::Item(index) => {
                if let Some(bytes) = self.chunks.take(index) {
                    self.position = Position::Item(index + 1);
                    What::Chunk(bytes, None)
                } else {
                    self.position = Position::Over;
                    What::End(Ending::Complete)
                }
            }
            Position::Trailers | Position::Over => What::End(Ending::Complete),
        }
    }

    /// When the next step is due; to be asked once for each.
    fn pace(&mut self) -> Option<Duration> {
        let chunks = &self.chunks;
        let last = || {
            let last = chunks.len().checked_sub(1);
            last.and_then(|last| chunks.at(last)).unwrap_or_default()
        };
        match (self.position, &self.head) {
            (Position::Head, Some(head)) => {
                let body = chunks.only();
                self.pacer.head(Duration::ZERO, head, body.as_deref())
            }
            (Position::Item(index), _) => match (chunks.at(index), &self.tokens) {
                (Some(came), Some(tokens)) => {
                    self.pacer.counted(came, tokens.contains(&index).into())
                }
                (Some(came), None) => {
                    let bytes = chunks.get(index).unwrap_or_default();
                    self.pacer.chunk(came, &bytes)
                }
                (None, _) => self.pacer.end(last()),
            },
            (Position::Head | Position::Trailers | Position::Over, _) => self.pacer.end(last()),
        }
    }
}
