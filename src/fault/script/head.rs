//! What faults do to the head of an answer.

use std::time::Duration;

use super::Script;
use super::clock::When;
use crate::cue::{Cue, Cut, Drip};
use crate::fault::edit::head::edit_headers;
use crate::fault::kind::{How, Kind};
use crate::message::ResponseHead;

impl Script {
    /// Changes the head. Gives back the encoding that the body has to be freed from, as faults look inside it.
    pub(super) fn edit_head(&mut self, head: &mut ResponseHead) -> Option<String> {
        for (name, value) in self.scene.limits.iter() {
            head.headers.set(name, value.clone());
        }
        let mut encoding = None;
        if self.needs_events() || self.changes_content() {
            encoding = head
                .headers
                .get_str("content-encoding")
                .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
                .map(str::to_owned);
            if encoding.is_some() {
                head.headers.remove("content-encoding");
            }
        }
        if encoding.is_some() || self.changes_length() {
            unframe(head);
        }
        for fault in 0..self.effects.len() {
            let Some(effect) = self.effects.get(fault) else {
                continue;
            };
            let kind = effect.kind.clone();
            if Self::edit_for(&kind, head) {
                self.mark_injected(fault);
            }
        }
        encoding
    }

    /// Whether this fault changed the head, and with that has done all it does.
    fn edit_for(kind: &Kind, head: &mut ResponseHead) -> bool {
        match kind {
            Kind::ContentType(value) => head.headers.set("content-type", value.clone()),
            Kind::ContentEncoding(value) => head.headers.set("content-encoding", value.clone()),
            Kind::Header(edit) => edit_headers(edit, &mut head.headers),
            Kind::Cut {
                how: How::CloseFramed,
                ..
            } => {
                head.headers.remove("content-length");
                head.headers.remove("transfer-encoding");
                return false;
            }
            Kind::Cut {
                how: How::ShortBody,
                ..
            } => {
                let length: Option<u64> = head
                    .headers
                    .get_str("content-length")
                    .and_then(|length| length.parse().ok());
                head.headers.remove("transfer-encoding");
                head.headers.set(
                    "content-length",
                    length.map_or(FAR_TOO_LONG, |length| length + 1).to_string(),
                );
                return false;
            }
            _ => return false,
        }
        true
    }

    /// A cut that is in the head already happens at the end at the latest: what the head says can't be taken back.
    pub(super) fn keep_promise(&mut self) {
        let promised = self.waiting().find(|(_, kind)| {
            matches!(
                kind,
                Kind::Cut {
                    how: How::ShortBody | How::CloseFramed,
                    ..
                }
            )
        });
        if let (false, Some((fault, _))) = (self.is_over, promised) {
            self.last(fault, When::default(), Cue::Cut(Cut::Fin));
        }
    }

    pub(super) fn drip(&self) -> Option<(usize, Drip)> {
        self.waiting().find_map(|(fault, kind)| match kind {
            Kind::SlowHead { bytes, every } => Some((
                fault,
                Drip {
                    bytes: (*bytes).max(1) as usize,
                    every: every.0.max(Duration::from_micros(1)),
                },
            )),
            _ => None,
        })
    }

    /// The faults that have done all they do when the head is out.
    pub fn ended_with_head(&self) -> Vec<usize> {
        let acts_on_head = |kind: &Kind| {
            matches!(
                kind,
                Kind::Latency { .. }
                    | Kind::SlowHead { .. }
                    | Kind::ContentType(_)
                    | Kind::ContentEncoding(_)
                    | Kind::Header(_)
            )
        };
        self.effects
            .iter()
            .enumerate()
            .filter(|(_, effect)| acts_on_head(&effect.kind))
            .map(|(fault, _)| fault)
            .collect()
    }

    /// Whether any fault has to see a body that is no stream as a whole.
    pub(super) fn needs_whole(&self) -> bool {
        self.scene.counts_tokens
            || self
                .waiting()
                .any(|(_, kind)| matches!(kind, Kind::ToolArgs(_)))
    }

    /// Whether any fault has to know where an event of a stream begins and ends.
    pub(super) fn needs_events(&self) -> bool {
        self.scene.counts_tokens || self.waiting().any(|(_, kind)| kind.needs_events())
    }

    /// Whether any fault changes the bytes of the body.
    fn changes_content(&self) -> bool {
        self.waiting().any(|(_, kind)| kind.changes_content())
    }

    /// Whether any fault changes how many bytes there are, so that a length in the head would be wrong.
    fn changes_length(&self) -> bool {
        self.waiting().any(|(_, kind)| kind.changes_length())
    }
}

/// Has the end of the body be marked by the framing, and not by a length in the head.
fn unframe(head: &mut ResponseHead) {
    if head.headers.remove("content-length") {
        head.headers.set("transfer-encoding", "chunked");
    }
}

/// A length that no stream of a test reaches: 4 GiB.
const FAR_TOO_LONG: u64 = 1 << 32;
