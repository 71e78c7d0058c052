//! What is known of a recording without its bodies.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cassette::files::Stamp;
use crate::cassette::names::place_of;
use crate::cassette::near::{Marks, Sketch};
use crate::cassette::recording::{RecordedBody, Recording};
use crate::key::{Canonical, Key, KeyBody, KeyRules};
use crate::message::{Ending, RequestHead};
use crate::sanitize::redact::RedactRules;

/// By which rules a recording is found.
#[derive(Clone, Debug)]
pub struct Keying {
    /// The place of the route in the plan.
    pub route: usize,
    /// The rules of that route.
    pub rules: Arc<KeyRules>,
    /// Applied before keying, so that a rule younger than the recording counts too.
    pub redact: Option<Arc<RedactRules>>,
}

/// Decides by which rules a recorded request is found. `None`: by no route, it's only listed.
pub(crate) type Rules = dyn Fn(&RequestHead) -> Option<Keying> + Send + Sync;

/// What is listed of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of its file.
    pub name: String,
    /// Of the recorded request.
    pub method: String,
    /// Of the recorded request.
    pub path: String,
    /// Of the answer.
    pub status: u16,
    /// How the answer ended.
    pub ending: Ending,
    /// How many items came after the head.
    pub chunks: usize,
    /// Of the answer's body.
    pub bytes: u64,
    /// From the head to the last item.
    pub duration: Duration,
    /// When the request came.
    pub at: SystemTime,
    /// Whether replay may use it.
    pub replayable: bool,
}

/// A recording as the index holds it; small, because there may be 100,000 of them.
#[derive(Clone, Debug)]
pub(crate) struct Indexed {
    pub(crate) name: Arc<str>,
    /// Of its file.
    pub(crate) stamp: Stamp,
    pub(crate) method: Arc<str>,
    pub(crate) path: Arc<str>,
    status: u16,
    pub(crate) ending: Ending,
    pub(crate) replayable: bool,
    /// How often it stands in its sequence. At most 1,000.
    pub(crate) repeats: u16,
    /// Its place there.
    pub(crate) place: u32,
    chunks: usize,
    bytes: u64,
    duration: Duration,
    at: SystemTime,
    /// Where it's found. `None` where no route matches.
    pub(crate) found: Option<(u32, Key)>,
    /// The key of the request as it was recorded. `None` where there are no rules and the file does not say.
    pub(crate) recorded: Option<Key>,
    /// The method and the path that it matches, where those are not the recorded ones.
    matched: Option<Box<(String, String)>>,
    /// What it matches besides, until it's in the index; then only by what it's found there.
    pub(crate) sketch: Sketch,
    pub(crate) marks: Marks,
    pub(crate) sides: Box<[Box<str>]>,
}

impl Indexed {
    /// What the index needs of a recording in a file of this stamp.
    pub(crate) fn new(recording: &Recording, stamp: Stamp, rules: Option<&Rules>) -> Self {
        let (matched, body) = recording.matched_request();
        let form = canonical(&matched, body, rules);
        let found = form
            .as_ref()
            .map(|(route, form)| (numbered(*route), form.key()));
        let recorded = if recording.matching.is_as_recorded() {
            found.map(|(_, key)| key)
        } else {
            canonical(&recording.request, &recording.request_body, rules)
                .map(|(_, form)| form.key())
        };
        let RequestHead { method, path, .. } = &recording.request;
        let (chunks, bytes, duration) = extent(recording);
        Self {
            name: recording.name.as_str().into(),
            stamp,
            method: method.as_str().into(),
            path: path.as_str().into(),
            status: recording.head.status,
            ending: recording.ending,
            replayable: recording.is_replayable(),
            repeats: recording
                .play
                .repeat
                .map_or(1, |repeat| u16::try_from(repeat).unwrap_or(u16::MAX)),
            place: place_of(&recording.name),
            chunks,
            bytes,
            duration,
            at: recording.at,
            found,
            recorded: recorded.or_else(|| recording.key.parse().ok()),
            sketch: form
                .as_ref()
                .map_or_else(Sketch::default, |(_, form)| Sketch::of(form)),
            marks: Marks::default(),
            matched: form
                .filter(|(_, form)| form.method != *method || form.path != *path)
                .map(|(_, form)| Box::new((form.method, form.path))),
            sides: sides(recording),
        }
    }

    /// The method and the path of the requests that it matches.
    pub(crate) fn matches(&self) -> (&str, &str) {
        match &self.matched {
            Some(matched) => (&matched.0, &matched.1),
            None => (&self.method, &self.path),
        }
    }

    /// What is listed of it.
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            name: self.name.to_string(),
            method: self.method.to_string(),
            path: self.path.to_string(),
            status: self.status,
            ending: self.ending,
            chunks: self.chunks,
            bytes: self.bytes,
            duration: self.duration,
            at: self.at,
            replayable: self.replayable,
        }
    }
}

/// The number of a route, as small as it is.
pub(crate) fn numbered(route: usize) -> u32 {
    u32::try_from(route).unwrap_or(u32::MAX)
}

/// The side files that a recording needs.
fn sides(recording: &Recording) -> Box<[Box<str>]> {
    let asked = [
        Some(&recording.request_body),
        recording.matching.body.as_ref(),
    ];
    let asked = asked.into_iter().flatten().filter_map(|body| match body {
        RecordedBody::Side(side) => Some(side),
        RecordedBody::Inline(_) | RecordedBody::TooLarge => None,
    });
    let wire = recording
        .encoded
        .as_ref()
        .and_then(|encoded| encoded.wire.as_ref());
    let sides = recording.side.iter().chain(wire).chain(asked);
    sides.map(|side| side.name.as_str().into()).collect()
}

/// The one form of a recorded request under the rules in force. `None` where no route matches, or its body can't be read.
pub(crate) fn canonical(
    head: &RequestHead,
    body: &RecordedBody,
    rules: Option<&Rules>,
) -> Option<(usize, Canonical)> {
    let Keying {
        route,
        rules,
        redact,
    } = rules?(head)?;
    let body = body.load().ok()?;
    let Some(redact) = redact else {
        return Some((route, rules.canonical(head, key_body(body.as_deref()))));
    };
    let mut redactor = redact.exchange(head);
    let redacted = redactor.request_head(head).into_inner();
    let body = body.map(|body| redactor.request_body(head, &body).into_inner());
    Some((route, rules.canonical(&redacted, key_body(body.as_deref()))))
}

/// How many items came after the head, how many bytes they have, and when the last one came. Where nothing of the body could
/// be decoded there are none: then what came.
fn extent(recording: &Recording) -> (usize, u64, Duration) {
    match &recording.encoded {
        Some(encoded) if recording.items.is_empty() => {
            let chunks = &encoded.chunks;
            let bytes = chunks.iter().map(|chunk| chunk.len).sum();
            let last = chunks.last().map(|chunk| chunk.at);
            (chunks.len(), bytes, last.unwrap_or_default())
        }
        Some(_) | None => (
            recording.items.len(),
            recording.body_bytes(),
            recording.duration(),
        ),
    }
}

/// A body as the key takes it; `None` for one that was too large.
pub(crate) fn key_body(body: Option<&[u8]>) -> KeyBody<'_> {
    match body {
        Some(bytes) => KeyBody::Whole(bytes),
        None => KeyBody::TooLarge,
    }
}
