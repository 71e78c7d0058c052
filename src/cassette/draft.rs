//! An exchange as the journal tells it so far. Live and after a crash it grows by the same events, so that both make the
//! same recording of it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::cassette::event::{End, Event, Piece, Stored};
use crate::cassette::format::fit_length;
use crate::cassette::item::{Direction, Item, ItemBody, ItemKind};
use crate::cassette::recording::{Matching, Play, RecordedBody, Recording};
use crate::cassette::side::SideFile;
use crate::key::Key;
use crate::message::{Headers, RequestHead, ResponseHead};

/// What is known of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) at: SystemTime,
    pub(crate) upstream: String,
    pub(crate) protocol: String,
    pub(crate) request: RequestHead,
    pub(crate) request_body: Stored,
    /// With the time from the end of the request, and the key.
    pub(crate) head: Option<(ResponseHead, Duration, Key)>,
    /// The rules that fired up to the answer's head.
    pub(crate) redacted: Vec<String>,
    pub(crate) items: Vec<Item>,
    /// How many bytes of the answer are in the spool. `None` while there is no spool.
    pub(crate) spooled: Option<u64>,
    /// How many bytes of the answer are in `items`.
    pub(crate) inline: usize,
    pub(crate) trailers: Option<Headers>,
}

impl Draft {
    /// A draft, from the event that begins one.
    pub(crate) fn begin(event: Event) -> Option<Self> {
        let Event::Begin {
            at,
            upstream,
            protocol,
            request,
        } = event
        else {
            return None;
        };
        Some(Self {
            at,
            upstream,
            protocol,
            request,
            request_body: Stored::Inline(Bytes::new()),
            head: None,
            redacted: Vec::new(),
            items: Vec::new(),
            spooled: None,
            inline: 0,
            trailers: None,
        })
    }

    /// What happened next.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Protocol(protocol) => self.protocol = protocol,
            Event::RequestBody(body) => self.request_body = body,
            Event::Head {
                head,
                after,
                key,
                redacted,
            } => {
                self.head = Some((head, after, key));
                self.redacted = redacted;
            }
            Event::Chunk { at, held, bytes } => {
                let body = match bytes {
                    Piece::Inline(bytes) => {
                        self.inline += bytes.len();
                        ItemBody::Inline(bytes)
                    }
                    Piece::Spooled(len) => {
                        let offset = self.spooled.unwrap_or_default();
                        self.spooled = Some(offset + len as u64);
                        ItemBody::Side { offset, len }
                    }
                };
                self.items.push(item(at, held, body));
            }
            Event::Spool => {
                let mut offset = 0;
                for item in &mut self.items {
                    let len = item.body.len();
                    item.body = ItemBody::Side { offset, len };
                    offset += len as u64;
                }
                self.inline = 0;
                self.spooled = Some(offset);
            }
            Event::Trailers(headers) => self.trailers = Some(headers),
            Event::Begin { .. } | Event::End(_) | Event::Discard | Event::Filed => {}
        }
    }

    /// The events that make this draft, but for its beginning: what a shortened journal says of it.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = vec![Event::Begin {
            at: self.at,
            upstream: self.upstream.clone(),
            protocol: self.protocol.clone(),
            request: self.request.clone(),
        }];
        events.push(Event::RequestBody(self.request_body.clone()));
        if let Some((head, after, key)) = self.head.clone() {
            events.push(Event::Head {
                head,
                after,
                key,
                redacted: self.redacted.clone(),
            });
        }
        if self.spooled.is_some() {
            events.push(Event::Spool);
        }
        events.extend(self.items.iter().map(|item| Event::Chunk {
            at: item.at,
            held: item.held,
            bytes: match &item.body {
                ItemBody::Inline(bytes) => Piece::Inline(bytes.clone()),
                ItemBody::Side { len, .. } => Piece::Spooled(*len),
            },
        }));
        events.extend(self.trailers.clone().map(Event::Trailers));
        events
    }

    /// The recording that it becomes by this commit.
    pub(crate) fn recording(self, folder: &Path, end: &End) -> Recording {
        let side = |name: &str, len| SideFile {
            folder: folder.to_owned(),
            name: name.to_owned(),
            len,
        };
        let mut items = self.items;
        if let Some(chunks) = &end.chunks {
            let mut offset = 0;
            items = Vec::with_capacity(chunks.len());
            for &(at, len, held) in chunks {
                items.push(item(at, held, ItemBody::Side { offset, len }));
                offset += len as u64;
            }
        }
        // A chunk of which nothing is left says nothing, and would end the body of a chunked answer.
        items.retain(|item| !item.body.is_empty());
        let mut recording = Recording {
            name: end.file.clone(),
            at: self.at,
            upstream: self.upstream,
            protocol: self.protocol,
            request: self.request,
            request_body: match self.request_body {
                Stored::Inline(bytes) => RecordedBody::Inline(bytes),
                Stored::Side(name, len) => RecordedBody::Side(side(&name, len)),
                Stored::TooLarge => RecordedBody::TooLarge,
            },
            head: end.head.clone(),
            head_after: self.head.map(|(_, after, _)| after).unwrap_or_default(),
            items,
            side: end.side.as_ref().map(|(name, len)| side(name, *len)),
            encoded: end.encoded.clone().map(|mut encoded| {
                if let Some(wire) = &mut encoded.wire {
                    folder.clone_into(&mut wire.folder);
                }
                encoded
            }),
            playback: None,
            trailers: self.trailers,
            ending: end.ending,
            redacted: end.redacted.clone(),
            key: end.key.to_string(),
            matching: Matching::default(),
            play: Play::default(),
            notes: serde_json::Map::new(),
        };
        fit_length(&mut recording);
        recording
    }
}

fn item(at: Duration, held: bool, body: ItemBody) -> Item {
    Item {
        at,
        direction: Direction::Down,
        kind: ItemKind::Bytes,
        body,
        held,
    }
}
