//! What faults do to the head of an answer.

use std::time::Duration;

use super::Script;
use super::clock::When;
use super::units::Wishes;
use crate::cue::{Cue, Cut, Drip};
use crate::encoding::Decoder;
use crate::fault::edit::head::edit_headers;
use crate::fault::kind::{How, Kind};
use crate::fault::position::Position;
use crate::message::{Headers, ResponseHead};

impl Script {
    /// Changes the head. Gives back the encoding that the body has to be freed from, as faults look inside it.
    pub(super) fn edit_head(&mut self, head: &mut ResponseHead, wishes: Wishes) -> Option<String> {
        for (name, value) in self.scene.limits.iter() {
            head.headers.set(name, value.clone());
        }
        let mut encoding = None;
        if wishes.events || wishes.whole || self.changes_content() {
            encoding = head
                .headers
                .get_str("content-encoding")
                .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
                .filter(|encoding| is_known(encoding))
                .map(str::to_owned);
            if encoding.is_some() {
                head.headers.remove("content-encoding");
            }
        }
        if encoding.is_some() || self.changes_length() || self.acts_behind(length(head)) {
            unframe(head);
        }
        for fault in 0..self.effects.len() {
            let Some(effect) = self.effects.get(fault) else {
                continue;
            };
            if effect.has_acted {
                continue;
            }
            let kind = effect.kind.clone();
            if Self::edit_for(&kind, head) {
                self.mark_injected(fault);
            }
        }
        encoding
    }

    /// Leaves out the faults that find nothing in this answer: what they do to a body it does not have, or to events that it
    /// is not made of.
    pub(super) fn pass_by(&mut self, head: &ResponseHead) {
        let has_body = self.has_body(head);
        let is_stream = is_event_stream(head);
        for effect in &mut self.effects {
            let kind = &effect.kind;
            let is_left_out = !has_body && kind.is_on_body() || !is_stream && kind.is_on_streams();
            effect.has_acted |= is_left_out;
        }
    }

    fn has_body(&self, head: &ResponseHead) -> bool {
        !self.scene.is_head_asked && !matches!(head.status, 204 | 304)
    }

    /// Whether anything acts behind the last byte of a body of this length, of which its client would see nothing.
    fn acts_behind(&self, length: Option<u64>) -> bool {
        let at = |place: &Position| match place {
            Position::Head => length == Some(0),
            Position::Bytes(size) => length == Some(size.0),
            _ => false,
        };
        self.waiting().any(|(_, kind)| match kind {
            Kind::Stall { after, .. }
            | Kind::Cut {
                after,
                how: How::Reset,
            } => at(after),
            _ => false,
        })
    }

    /// Whether this fault changed the head, and with that has done all it does.
    fn edit_for(kind: &Kind, head: &mut ResponseHead) -> bool {
        let headers = &mut head.headers;
        match kind {
            Kind::ContentType(value) => changes(headers, |headers| {
                headers.set("content-type", value.clone());
            }),
            Kind::ContentEncoding(value) => changes(headers, |headers| {
                headers.set("content-encoding", value.clone());
            }),
            Kind::Header(edit) => changes(headers, |headers| edit_headers(edit, headers)),
            Kind::Cut { how, .. } => {
                promise(*how, head);
                false
            }
            Kind::MalformedChunk { .. } => {
                frame_in_chunks(head);
                false
            }
            _ => false,
        }
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

    /// What has to be told apart of the body behind this head.
    pub(super) fn wishes(&self, head: &ResponseHead) -> Wishes {
        let counts = self.scene.counts_tokens;
        let needs_events = counts || self.waiting().any(|(_, kind)| kind.needs_events());
        let is_tools = |kind: &Kind| matches!(kind, Kind::ToolArgs(_));
        let needs_whole = counts || self.waiting().any(|(_, kind)| is_tools(kind));
        let has_body = self.has_body(head);
        Wishes {
            events: has_body && needs_events && is_event_stream(head),
            whole: has_body && needs_whole && is_json(head),
        }
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

/// Whether its events can be told apart: nobody can look into an encoding that is not known.
fn is_event_stream(head: &ResponseHead) -> bool {
    head.media_type().as_deref() == Some("text/event-stream")
        && head
            .headers
            .get_str("content-encoding")
            .is_none_or(is_known)
}

fn is_json(head: &ResponseHead) -> bool {
    head.media_type()
        .is_some_and(|media| media.ends_with("json"))
}

fn is_known(encoding: &str) -> bool {
    Decoder::new(encoding, 0).is_ok()
}

/// How long the head says that the body is.
fn length(head: &ResponseHead) -> Option<u64> {
    head.headers.get_str("content-length")?.parse().ok()
}

/// Whether an edit makes a difference.
fn changes(headers: &mut Headers, edit: impl FnOnce(&mut Headers)) -> bool {
    let before = headers.clone();
    edit(headers);
    *headers != before
}

/// Has the head say what this way to end a body needs.
fn promise(how: How, head: &mut ResponseHead) {
    match how {
        How::CloseFramed => {
            head.headers.remove("content-length");
            head.headers.remove("transfer-encoding");
        }
        How::ShortBody => {
            let length = length(head).map_or(FAR_TOO_LONG, |length| length + 1);
            head.headers.remove("transfer-encoding");
            head.headers.set("content-length", length.to_string());
        }
        How::MissingLastChunk => frame_in_chunks(head),
        How::CleanEnd | How::MissingTerminator | How::Reset | How::H2Reset(_) | How::GoAway(_) => {}
    }
}

/// Has the body come in chunks, also where the source sends none.
fn frame_in_chunks(head: &mut ResponseHead) {
    head.headers.remove("content-length");
    head.headers.set("transfer-encoding", "chunked");
}

/// Has the end of the body be marked by the framing, and not by a length in the head.
fn unframe(head: &mut ResponseHead) {
    if head.headers.remove("content-length") {
        head.headers.set("transfer-encoding", "chunked");
    }
}

/// A length that no stream of a test reaches: 4 GiB.
const FAR_TOO_LONG: u64 = 1 << 32;
