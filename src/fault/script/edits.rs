//! What faults do to the bytes of a body: single events changed, dropped, doubled, late; bits flipped; writes cut.

use bytes::Bytes;

use super::Armed;
use crate::dialect::{Dialect, Part};
use crate::dice::Stream;
use crate::fault::edit::Selector;
use crate::fault::edit::corrupt::{Corrupter, split_utf8};
use crate::fault::edit::frame::{
    drop_event_lines, invalid_json, invalid_json_body, invalid_utf8, two_objects,
};
use crate::fault::edit::queue::{EventEdit, EventQueue};
use crate::fault::edit::tools::ToolEditor;
use crate::fault::kind::Kind;
use crate::fault::position::Events;

/// The edits of one answer.
#[derive(Debug, Default)]
pub(super) struct Edits {
    changes: Vec<(usize, Change)>,
    queue: EventQueue,
    /// What the queue does, so that it is known whose doing it was.
    queued: Vec<(usize, EventEdit, Selector)>,
    /// The faults that have an event wait for the one that follows it: without one they do nothing.
    waiting: Vec<usize>,
    corrupters: Vec<(usize, Corrupter, Stream)>,
    utf8_splitter: Option<usize>,
    /// The faults that have done something, until somebody asks.
    begun: Vec<usize>,
}

/// What is done to an event.
#[derive(Debug)]
enum Change {
    InvalidJson(Selector),
    TwoObjects(Selector),
    InvalidUtf8(Selector),
    DropEventLines,
    Tools(Box<ToolEditor>),
}

/// A piece of a body.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// Counted from 1; of events, or of pieces where there are none.
    pub(super) number: u64,
    /// What it is about, if it is a whole event.
    pub(super) part: Option<Part>,
    /// Whether it is all of a body that is no stream.
    pub(super) is_whole: bool,
}

impl Edits {
    pub(super) fn new(armed: &[Armed], dialect: Dialect) -> Self {
        let mut edits = Self::default();
        for (fault, armed) in armed.iter().enumerate() {
            let change = match &armed.kind {
                Kind::InvalidJson(events) => Change::InvalidJson(Selector::new(events)),
                Kind::TwoObjects(events) => Change::TwoObjects(Selector::new(events)),
                Kind::InvalidUtf8(events) => Change::InvalidUtf8(Selector::new(events)),
                Kind::DropEventLines => Change::DropEventLines,
                Kind::ToolArgs(wrong) => Change::Tools(Box::new(ToolEditor::new(dialect, *wrong))),
                Kind::Drop(events) => {
                    edits.queue(fault, EventEdit::Drop, events);
                    continue;
                }
                Kind::Duplicate(events) => {
                    edits.queue(fault, EventEdit::Duplicate, events);
                    continue;
                }
                Kind::Reorder(events) => {
                    edits.queue(fault, EventEdit::Reorder, events);
                    continue;
                }
                Kind::Merge(events) => {
                    edits.queue(fault, EventEdit::Merge, events);
                    continue;
                }
                Kind::Split(events) => {
                    edits.queue(fault, EventEdit::Split, events);
                    continue;
                }
                Kind::SplitUtf8 => {
                    edits.utf8_splitter = Some(fault);
                    continue;
                }
                _ => continue,
            };
            edits.changes.push((fault, change));
        }
        edits
    }

    /// From here on bits are flipped.
    pub(super) fn corrupt(&mut self, fault: usize, corrupter: Corrupter, chance: Stream) {
        self.corrupters.push((fault, corrupter, chance));
    }

    /// How many flip bits.
    pub(super) fn corrupters(&self) -> usize {
        self.corrupters.len()
    }

    /// What all of them but the first so many make of a write.
    pub(super) fn flip(&mut self, known: usize, mut bytes: Bytes) -> Bytes {
        for (fault, corrupter, chance) in self.corrupters.iter_mut().skip(known) {
            let before = corrupter.left();
            bytes = corrupter.push(bytes, &mut || chance.bits());
            if corrupter.left() < before {
                self.begun.push(*fault);
            }
        }
        bytes
    }

    /// The writes that become of a piece.
    pub(super) fn apply(&mut self, dialect: Dialect, piece: &Piece) -> Vec<Bytes> {
        let mut bytes = piece.bytes.clone();
        for (fault, change) in &mut self.changes {
            if let Some(changed) = change.apply(dialect, &bytes, piece) {
                bytes = changed;
                self.begun.push(*fault);
            }
        }
        let mut writes = Vec::with_capacity(1);
        match piece.part {
            Some(part) if part != Part::KeepAlive => {
                self.queue.push(bytes, piece.number, part, &mut writes);
                if !writes.is_empty() {
                    self.begun.append(&mut self.waiting);
                }
                for (fault, edit, selector) in &self.queued {
                    if selector.selects(piece.number, part) {
                        match edit {
                            EventEdit::Reorder | EventEdit::Merge => self.waiting.push(*fault),
                            EventEdit::Drop | EventEdit::Duplicate | EventEdit::Split => {
                                self.begun.push(*fault);
                            }
                        }
                    }
                }
            }
            Some(_) | None => writes.push(bytes),
        }
        self.finish_writes(writes)
    }

    /// What was held back, when the stream is over or faults were switched off.
    pub(super) fn finish(&mut self) -> Vec<Bytes> {
        let mut writes = Vec::new();
        self.queue.finish(&mut writes);
        self.finish_writes(writes)
    }

    /// The faults that have done something since this was asked last.
    pub(super) fn begun(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.begun)
    }

    pub(super) fn lift(&mut self, fault: usize) {
        self.changes.retain(|(of, _)| *of != fault);
        self.corrupters.retain(|(of, ..)| *of != fault);
        self.utf8_splitter = self.utf8_splitter.filter(|of| *of != fault);
        self.waiting.retain(|of| *of != fault);
        if self.queued.iter().any(|(of, ..)| *of == fault) {
            self.queued.retain(|(of, ..)| *of != fault);
            self.queue.forget();
            // What others do goes on.
            for (_, edit, selector) in &self.queued {
                self.queue.put(*edit, selector.clone());
            }
        }
    }

    fn finish_writes(&mut self, writes: Vec<Bytes>) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(writes.len());
        for bytes in writes {
            let bytes = self.flip(0, bytes);
            match self.utf8_splitter {
                Some(fault) => {
                    let pieces = split_utf8(&bytes);
                    if pieces.len() > 1 {
                        self.begun.push(fault);
                    }
                    out.extend(pieces);
                }
                None => out.push(bytes),
            }
        }
        out
    }
}

impl Edits {
    fn queue(&mut self, fault: usize, edit: EventEdit, events: &Events) {
        self.queue.add(edit, events);
        self.queued.push((fault, edit, Selector::new(events)));
    }
}

impl Change {
    fn apply(&mut self, dialect: Dialect, bytes: &Bytes, piece: &Piece) -> Option<Bytes> {
        let is_meant = |selector: &Selector| {
            piece.part.map_or(piece.number == 1, |part| {
                selector.selects(piece.number, part)
            })
        };
        match self {
            Self::InvalidJson(selector) if is_meant(selector) => match piece.part {
                Some(_) => invalid_json(bytes),
                None => invalid_json_body(bytes),
            },
            Self::TwoObjects(selector) if is_meant(selector) => two_objects(bytes),
            Self::InvalidUtf8(selector) if is_meant(selector) => invalid_utf8(dialect, bytes),
            Self::DropEventLines if piece.part.is_some() => drop_event_lines(bytes),
            Self::Tools(editor) if piece.part.is_some() => editor.event(bytes),
            Self::Tools(editor) if piece.is_whole => editor.body(bytes),
            Self::InvalidJson(_)
            | Self::TwoObjects(_)
            | Self::InvalidUtf8(_)
            | Self::DropEventLines
            | Self::Tools(_) => None,
        }
    }
}
