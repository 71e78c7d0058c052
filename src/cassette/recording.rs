//! One recorded exchange in memory: what was recorded, what it matches, and how it is played.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::cassette::encoded::{Encoded, Flaw, Playback};
use crate::cassette::item::{Item, ItemBody};
use crate::cassette::side::SideFile;
use crate::message::{Ending, Headers, RequestHead, ResponseHead};

/// One exchange in a cassette. Holds only what was redacted.
///
/// Three things are kept apart, so that recording again never destroys what a person wrote: facts, `matching` and `play`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The name of its file within the cassette.
    pub name: String,
    /// When the request came, to the microsecond.
    pub at: SystemTime,
    /// The URL of the upstream that answered.
    pub upstream: String,
    /// What was spoken with the upstream, such as `http/1.1`.
    pub protocol: String,
    /// As it was asked, after redaction.
    pub request: RequestHead,
    /// As it was asked, after redaction.
    pub request_body: RecordedBody,
    /// As it was answered. Its `content-length` fits what is played.
    pub head: ResponseHead,
    /// From the end of the request to the answer's head.
    pub head_after: Duration,
    /// The answer's body, in order, and what else passed after the head. Decoded where `encoded` says so.
    pub items: Vec<Item>,
    /// The file in which the bytes of `ItemBody::Side` stand.
    pub side: Option<SideFile>,
    /// What is known of the encoding of the answer's body.
    pub encoded: Option<Encoded>,
    /// What is played, where that are not the items. Made when it's loaded.
    pub playback: Option<Arc<Playback>>,
    /// What came after the body.
    pub trailers: Option<Headers>,
    /// How the answer ended.
    pub ending: Ending,
    /// The rules by which something was taken out.
    pub redacted: Vec<String>,
    /// The key under the rules in force when it was recorded, as 32 hexadecimal digits.
    pub key: String,
    /// What it matches, where a person wants something else than what was recorded.
    pub matching: Matching,
    /// How it is played.
    pub play: Play,
    /// Members of the file whose names start with `x-`: notes of people, kept as they are.
    pub notes: Map<String, Value>,
}

/// A whole body as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedBody {
    /// Here; may be empty.
    Inline(Bytes),
    /// In a side file.
    Side(SideFile),
    /// It was larger than the limit, and isn't kept.
    TooLarge,
}

/// What a recording matches. `None` stands for: as it was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// The method.
    pub method: Option<String>,
    /// The path.
    pub path: Option<String>,
    /// The query; `Some(None)` where there must be none.
    pub query: Option<Option<String>>,
    /// All headers that count for the key.
    pub headers: Option<Headers>,
    /// The body.
    pub body: Option<RecordedBody>,
    /// Members whose names start with `x-`.
    pub notes: Map<String, Value>,
}

/// How a recording is played.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Play {
    /// Whether it's left out.
    pub skip: bool,
    /// How many times it's played before the next one of its sequence. At least 1, the default.
    pub repeat: Option<u32>,
    /// How many times as fast as it was recorded. Above 0; 1 is the default.
    pub speed: Option<f64>,
    /// Members whose names start with `x-`.
    pub notes: Map<String, Value>,
}

impl Recording {
    /// Whether replay may use it.
    pub fn is_replayable(&self) -> bool {
        self.ending.is_whole() && !self.play.skip
    }

    /// The request that it matches: the recorded one, with what a person wrote instead.
    pub fn matched_request(&self) -> (RequestHead, &RecordedBody) {
        let matching = &self.matching;
        let head = RequestHead {
            method: matching
                .method
                .as_ref()
                .unwrap_or(&self.request.method)
                .clone(),
            path: matching.path.as_ref().unwrap_or(&self.request.path).clone(),
            query: matching
                .query
                .as_ref()
                .unwrap_or(&self.request.query)
                .clone(),
            headers: matching
                .headers
                .as_ref()
                .unwrap_or(&self.request.headers)
                .clone(),
        };
        (head, matching.body.as_ref().unwrap_or(&self.request_body))
    }

    /// The encoding that its items were taken out of. `None` where they are as they came.
    pub fn decoded_from(&self) -> Option<&Encoded> {
        self.encoded
            .as_ref()
            .filter(|encoded| !matches!(encoded.flaw, Some(Flaw::Undecoded(_))))
    }

    /// How many bytes the answer's body has.
    pub fn body_bytes(&self) -> u64 {
        self.items.iter().map(|item| item.body.len() as u64).sum()
    }

    /// From the head to the last item.
    pub fn duration(&self) -> Duration {
        self.items.last().map(|item| item.at).unwrap_or_default()
    }

    /// The bytes of an item. Blocks on the disk where they are in the side file.
    ///
    /// # Errors
    ///
    /// Where the side file is gone or shorter than it was.
    pub fn read(&self, body: &ItemBody) -> io::Result<Bytes> {
        match (body, &self.side) {
            (ItemBody::Inline(bytes), _) => Ok(bytes.clone()),
            (ItemBody::Side { offset, len }, Some(side)) => {
                side.read_at(&side.open()?, *offset, *len)
            }
            (ItemBody::Side { .. }, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Matching {
    /// Whether it matches what was recorded.
    pub fn is_as_recorded(&self) -> bool {
        let Self {
            method,
            path,
            query,
            headers,
            body,
            notes: _,
        } = self;
        method.is_none() && path.is_none() && query.is_none() && headers.is_none() && body.is_none()
    }
}

impl RecordedBody {
    /// No byte.
    pub fn empty() -> Self {
        Self::Inline(Bytes::new())
    }

    /// All of it; `None` where it was too large to be kept. Blocks on the disk for a side file.
    pub fn load(&self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Inline(bytes) => Ok(Some(bytes.clone())),
            Self::Side(side) => {
                let len = usize::try_from(side.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
                side.read_at(&side.open()?, 0, len).map(Some)
            }
            Self::TooLarge => Ok(None),
        }
    }
}
