//! Headers in faults: what can stand in a head, and what must not be set by hand.

use super::bounds::{MAX_GARBAGE, whole};
use crate::fault::kind::HeaderEdit;
use crate::fault::problem::Problem;
use crate::route::is_token;

/// What is done to headers.
pub(super) fn check_edit(edit: &HeaderEdit, key: &str, found: &mut Vec<Problem>) {
    for (name, value) in &edit.set {
        check_header(name, Some(value), &[key, "set", name], found);
    }
    for (list, names) in [("drop", &edit.drop), ("duplicate", &edit.duplicate)] {
        for name in names {
            check_header(name, None, &[key, list], found);
        }
    }
    let size = edit.huge.map_or(1, |size| size.0);
    whole(&[key, "huge"], size, MAX_GARBAGE, found);
    if *edit == HeaderEdit::default() {
        let hint = "expected `set`, `drop`, `duplicate` or `huge`";
        found.push(Problem::at(&[key], "no header is changed").hint(hint));
    }
}

/// One line of a head. `way` leads to it.
pub(super) fn check_header(
    name: &str,
    value: Option<&String>,
    way: &[&str],
    found: &mut Vec<Problem>,
) {
    if !is_token(name) {
        found.push(Problem::at(way, format!("`{name}` is not a header name")));
    }
    if FRAMING
        .iter()
        .any(|framing| framing.eq_ignore_ascii_case(name))
    {
        let what = format!("`{name}` says where the answer ends, and the proxy sets it itself");
        let hint = "a wrong end is `cut` with `how = \"short-body\"`, or `malformed_chunk`";
        found.push(Problem::at(way, what).hint(hint));
    }
    let is_sendable = |value: &String| value.chars().all(|char| char == '\t' || !char.is_control());
    if !value.is_none_or(is_sendable) {
        let what = format!("the value of `{name}` holds a control character");
        found.push(Problem::at(way, what));
    }
}

/// Where the answer ends is the proxy's to say.
const FRAMING: [&str; 4] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "trailer",
];
