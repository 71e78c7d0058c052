//! Edits on frames and bytes: what a fault changes, and not a byte beside it.
//!
//! Pure: what is chosen by chance is chosen by a function that the caller gives.

use bytes::{Bytes, BytesMut};

use super::position::Events;
use crate::dialect::Part;

pub mod corrupt;
pub mod frame;
pub mod head;
pub mod queue;
pub mod tools;

/// Says which events a fault means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    /// In ascending order.
    At(Vec<u64>),
    Range {
        from: u64,
        count: u64,
    },
    Part(Part),
}

impl Selector {
    /// For this choice.
    pub fn new(events: &Events) -> Self {
        let which = match events {
            Events::At(numbers) => {
                let mut numbers = numbers.clone();
                numbers.sort_unstable();
                Which::At(numbers)
            }
            Events::Range { from, count } => Which::Range {
                from: *from,
                count: *count,
            },
            Events::Kind(kind) => Which::Part(kind.part()),
        };
        Self { which }
    }

    /// Whether this event is meant; `number` counts from 1.
    pub fn selects(&self, number: u64, part: Part) -> bool {
        match &self.which {
            Which::At(numbers) => numbers.binary_search(&number).is_ok(),
            Which::Range { from, count } => {
                number.checked_sub(*from).is_some_and(|past| past < *count)
            }
            Which::Part(wanted) => part == *wanted,
        }
    }

    /// Whether no event from this number on can be meant any more, so that nobody needs to look.
    pub fn is_over(&self, number: u64) -> bool {
        match &self.which {
            Which::At(numbers) => numbers.last().is_none_or(|last| *last < number),
            Which::Range { from, count } => from.saturating_add(*count) <= number,
            Which::Part(_) => false,
        }
    }
}

/// Puts `new` in the place of a piece of `bytes`. A range that is not in them changes nothing.
fn replaced(bytes: &[u8], range: std::ops::Range<usize>, new: &[u8]) -> Bytes {
    let (Some(before), Some(after)) = (bytes.get(..range.start), bytes.get(range.end..)) else {
        return Bytes::copy_from_slice(bytes);
    };
    let mut made = BytesMut::with_capacity(before.len() + new.len() + after.len());
    made.extend_from_slice(before);
    made.extend_from_slice(new);
    made.extend_from_slice(after);
    made.freeze()
}

#[cfg(test)]
mod tests;
