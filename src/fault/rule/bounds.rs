//! Numbers that are out of bounds, and the bounds.

use crate::fault::problem::Problem;
use crate::units::{ByteSize, Span};

pub(super) fn some_bytes(way: &[&str], size: Option<ByteSize>, found: &mut Vec<Problem>) {
    if size == Some(ByteSize(0)) {
        found.push(Problem::at(way, "at zero bytes nothing passes, ever"));
    }
}

pub(super) fn some_limit(key: &str, is_limit: bool, names: &str, found: &mut Vec<Problem>) {
    if !is_limit {
        let hint = format!("expected {names} or both");
        found.push(Problem::at(&[key], "no limit is set").hint(hint));
    }
}

pub(super) fn whole(way: &[&str], value: impl Into<u64>, max: u64, found: &mut Vec<Problem>) {
    let value = value.into();
    if !(1..=max).contains(&value) {
        let what = format!("{value} is out of range, expected a number from 1 to {max}");
        found.push(Problem::at(way, what));
    }
}

pub(super) fn above_zero(way: &[&str], span: Span, found: &mut Vec<Problem>) {
    if span == Span::default() {
        found.push(Problem::at(way, "the time is zero, expected one above it"));
    }
}

pub(super) const MAX_PIECES: u64 = 100_000;

pub(super) const MAX_FLIPS: u64 = 1_000_000;

/// In bytes: 1 MiB.
pub(super) const MAX_GARBAGE: u64 = 1024 * 1024;
