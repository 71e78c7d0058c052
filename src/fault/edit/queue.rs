//! Events that don't come, come twice, come in another order, or in other writes.

use bytes::{Bytes, BytesMut};

use super::Selector;
use crate::dialect::Part;
use crate::fault::position::Events;

/// What is done with an event as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventEdit {
    /// It does not come.
    Drop,
    /// It comes twice.
    Duplicate,
    /// It comes after the event that follows it.
    Reorder,
    /// It comes in one write with the event that follows it.
    Merge,
    /// It comes in two writes.
    Split,
}

/// Turns each event into the writes that are made of it. Holds at most two events back, so its memory does not grow.
#[derive(Clone, Debug, Default)]
pub struct EventQueue {
    drop: Vec<Selector>,
    duplicate: Vec<Selector>,
    reorder: Vec<Selector>,
    merge: Vec<Selector>,
    split: Vec<Selector>,
    /// Comes after the event that follows it.
    late: Option<Held>,
    /// Comes in one write with the event that follows it.
    joined: Option<Bytes>,
}

/// An event that waits for another, and what is still to be done with it.
#[derive(Clone, Debug)]
struct Held {
    frame: Bytes,
    merges: bool,
    splits: bool,
}

impl EventQueue {
    /// Does this with the events that are meant.
    pub fn add(&mut self, edit: EventEdit, events: &Events) {
        self.put(edit, Selector::new(events));
    }

    /// The same.
    pub fn put(&mut self, edit: EventEdit, selector: Selector) {
        let list = match edit {
            EventEdit::Drop => &mut self.drop,
            EventEdit::Duplicate => &mut self.duplicate,
            EventEdit::Reorder => &mut self.reorder,
            EventEdit::Merge => &mut self.merge,
            EventEdit::Split => &mut self.split,
        };
        list.push(selector);
    }

    /// Whether nothing is to be done, and nothing is held.
    pub fn is_idle(&self) -> bool {
        let lists = [
            &self.drop,
            &self.duplicate,
            &self.reorder,
            &self.merge,
            &self.split,
        ];
        lists.into_iter().all(Vec::is_empty) && self.late.is_none() && self.joined.is_none()
    }

    /// Takes the next event, whose number counts from 1, and adds the writes that are due to `writes`.
    ///
    /// Of two events in a row that are to be late, or joined with the next, only the first is: else none would ever come.
    pub fn push(&mut self, frame: Bytes, number: u64, part: Part, writes: &mut Vec<Bytes>) {
        let is = |list: &[Selector]| list.iter().any(|selector| selector.selects(number, part));
        if is(&self.drop) {
            return;
        }
        let held = Held {
            merges: is(&self.merge),
            splits: is(&self.split),
            frame,
        };
        let again = is(&self.duplicate).then(|| held.clone());
        let is_late = is(&self.reorder);
        match self.late.take() {
            None if is_late => {
                self.late = Some(held);
                // Of an event that comes twice, one is late.
                self.send_all(again, writes);
            }
            late => {
                self.send(held, writes);
                self.send_all(again, writes);
                self.send_all(late, writes);
            }
        }
    }

    /// Does nothing from here on; what is held comes with the next event or at the end.
    pub fn forget(&mut self) {
        for list in [
            &mut self.drop,
            &mut self.duplicate,
            &mut self.reorder,
            &mut self.merge,
            &mut self.split,
        ] {
            list.clear();
        }
    }

    /// Adds what is still held, when the stream is over or faults are switched off.
    pub fn finish(&mut self, writes: &mut Vec<Bytes>) {
        let late = self.late.take();
        self.send_all(late, writes);
        writes.extend(self.joined.take());
    }

    fn send_all(&mut self, held: Option<Held>, writes: &mut Vec<Bytes>) {
        if let Some(held) = held {
            self.send(held, writes);
        }
    }

    fn send(&mut self, held: Held, writes: &mut Vec<Bytes>) {
        let Held {
            frame,
            merges,
            splits,
        } = held;
        match self.joined.take() {
            Some(first) => {
                let mut both = BytesMut::with_capacity(first.len() + frame.len());
                both.extend_from_slice(&first);
                both.extend_from_slice(&frame);
                writes.push(both.freeze());
            }
            None if merges => self.joined = Some(frame),
            None if splits && frame.len() > 1 => {
                let middle = frame.len() / 2;
                writes.push(frame.slice(..middle));
                writes.push(frame.slice(middle..));
            }
            None => writes.push(frame),
        }
    }
}
