//! What happens to an exchange while it's recorded, and the line by which the journal tells it.
//!
//! Not made to be edited: a line that isn't as it was written is as good as torn.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::cassette::encoded::Encoded;
use crate::cassette::format::{
    encoded_of, encoded_value, header_lines, header_list, is_plain, micros, octets, time_of,
    timestamp,
};
use crate::json;
use crate::key::Key;
use crate::message::{Ending, Headers, RequestHead, ResponseHead};

/// Something that happened to the exchange of this number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A request came.
    Begin {
        at: SystemTime,
        upstream: String,
        protocol: String,
        request: RequestHead,
    },
    /// What is spoken with the upstream, in place of what was said of it before.
    Protocol(String),
    /// Its body, in place of what was said of it before.
    RequestBody(Stored),
    /// The answer's head came; the key is that of the request.
    Head {
        head: ResponseHead,
        after: Duration,
        key: Key,
        /// The rules that fired so far.
        redacted: Vec<String>,
    },
    /// A piece of the answer.
    Chunk {
        at: Duration,
        held: bool,
        bytes: Piece,
    },
    /// From here on the bytes of the answer, all of them, are in a file of their own.
    Spool,
    /// Header lines after the answer.
    Trailers(Headers),
    /// The exchange is committed.
    End(Box<End>),
    /// The exchange is not kept.
    Discard,
    /// The file of the committed exchange is made.
    Filed,
}

/// The commit of an exchange: all that is needed to make its file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    /// How the answer ended.
    pub(crate) ending: Ending,
    /// The head as it's kept.
    pub(crate) head: ResponseHead,
    /// The rules by which something was taken out.
    pub(crate) redacted: Vec<String>,
    /// The key of the request.
    pub(crate) key: Key,
    /// The name of its file.
    pub(crate) file: String,
    /// Names of files that go when this one is there.
    pub(crate) replaces: Vec<String>,
    /// The side file with the answer's bytes, and its length.
    pub(crate) side: Option<(String, u64)>,
    /// The chunks of the side file, where they are not those that were journaled.
    pub(crate) chunks: Option<Vec<(Duration, usize, bool)>>,
    /// The encoding of the answer's body. Its side file has no folder.
    pub(crate) encoded: Option<Encoded>,
}

/// Where a request's body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// In the line.
    Inline(Bytes),
    /// In a side file of this name and length.
    Side(String, u64),
    /// Nowhere.
    TooLarge,
}

/// Where the bytes of a chunk are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// In the line.
    Inline(Bytes),
    /// The next so many of the spool.
    Spooled(usize),
}

impl End {
    /// Adds its members.
    fn write(&self, add: &mut impl FnMut(&str, Value)) {
        add("ending", json!(self.ending.as_str()));
        add("answer", head_value(&self.head));
        add("redacted", json!(self.redacted));
        add("key", json!(self.key.to_string()));
        add("file", json!(self.file));
        add("replaces", json!(self.replaces));
        if let Some((name, len)) = &self.side {
            add("side", json!(name));
            add("len", json!(len));
        }
        if let Some(chunks) = &self.chunks {
            let chunk = |(at, len, held): &(Duration, usize, bool)| json!([micros(*at), len, held]);
            add("chunks", chunks.iter().map(chunk).collect());
        }
        if let Some(encoded) = &self.encoded {
            add("encoding", Value::Object(encoded_value(encoded)));
        }
    }
}

impl Line {
    /// Adds the line, with its line break.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut members = Map::new();
        let mut add = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        add(self.event.name(), json!(self.id));
        match &self.event {
            Event::Begin {
                at,
                upstream,
                protocol,
                request,
            } => {
                add("at", json!(timestamp(*at)));
                add("upstream", json!(upstream));
                add("protocol", json!(protocol));
                add("method", json!(request.method));
                add("path", json!(request.path));
                add("query", json!(request.query));
                add("headers", header_lines(&request.headers));
            }
            Event::Protocol(protocol) => add("protocol", json!(protocol)),
            Event::RequestBody(Stored::Inline(bytes)) => add("data", octets(bytes)),
            Event::RequestBody(Stored::Side(name, len)) => {
                add("file", json!(name));
                add("len", json!(len));
            }
            Event::RequestBody(Stored::TooLarge) => add("too_large", json!(true)),
            Event::Head {
                head,
                after,
                key,
                redacted,
            } => {
                add("redacted", json!(redacted));
                add("head_us", json!(micros(*after)));
                add("answer", head_value(head));
                add("key", json!(key.to_string()));
            }
            Event::Chunk { at, held, bytes } => {
                add("at_us", json!(micros(*at)));
                match bytes {
                    Piece::Inline(bytes) => add("data", octets(bytes)),
                    Piece::Spooled(len) => add("len", json!(len)),
                }
                if *held {
                    add("held", json!(true));
                }
            }
            Event::Trailers(headers) => add("headers", header_lines(headers)),
            Event::End(end) => end.write(&mut add),
            Event::Spool | Event::Discard | Event::Filed => {}
        }
        serde_json::to_writer(&mut *out, &members).expect("a value is written to memory");
        out.push(b'\n');
    }

    /// Reads a line. `None` for anything that was not written by `write`.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let value = json::parse(bytes.strip_suffix(b"\n")?).ok()?;
        let (name, id) = value.as_object()?.iter().next()?;
        let id = id.as_u64()?;
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        let number = |name: &str| value.get(name)?.as_u64();
        let key = || text("key")?.parse().ok();
        let event = match name.as_str() {
            "begin" => Event::Begin {
                at: time_of(&text("at")?)?,
                upstream: text("upstream")?,
                protocol: text("protocol")?,
                request: RequestHead {
                    method: text("method")?,
                    path: text("path")?,
                    query: text("query"),
                    headers: header_list(value.get("headers")?)?,
                },
            },
            "protocol" => Event::Protocol(text("protocol")?),
            "request_body" => Event::RequestBody(match (value.get("data"), text("file")) {
                (Some(data), _) => Stored::Inline(bytes_of(data)?),
                (None, Some(file)) if is_plain(&file) => Stored::Side(file, number("len")?),
                (None, Some(_)) => return None,
                (None, None) => Stored::TooLarge,
            }),
            "head" => Event::Head {
                head: head_of(value.get("answer")?)?,
                after: Duration::from_micros(number("head_us")?),
                key: key()?,
                redacted: texts(&value, "redacted")?,
            },
            "chunk" => Event::Chunk {
                at: Duration::from_micros(number("at_us")?),
                held: value.get("held").is_some(),
                bytes: match value.get("data") {
                    Some(data) => Piece::Inline(bytes_of(data)?),
                    None => Piece::Spooled(usize::try_from(number("len")?).ok()?),
                },
            },
            "spool" => Event::Spool,
            "trailers" => Event::Trailers(header_list(value.get("headers")?)?),
            "end" => Event::End(Box::new(End::read(&value)?)),
            "discard" => Event::Discard,
            "filed" => Event::Filed,
            _ => return None,
        };
        Some(Self { id, event })
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "begin",
            Self::Protocol(_) => "protocol",
            Self::RequestBody(_) => "request_body",
            Self::Head { .. } => "head",
            Self::Chunk { .. } => "chunk",
            Self::Spool => "spool",
            Self::Trailers(_) => "trailers",
            Self::End(_) => "end",
            Self::Discard => "discard",
            Self::Filed => "filed",
        }
    }
}

impl End {
    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str();
        let ending = text("ending")?;
        let end = Self {
            ending: Ending::ALL.into_iter().find(|one| one.as_str() == ending)?,
            head: head_of(value.get("answer")?)?,
            redacted: texts(value, "redacted")?,
            key: text("key")?.parse().ok()?,
            file: text("file")?.to_owned(),
            replaces: texts(value, "replaces")?,
            side: match text("side") {
                Some(name) => Some((name.to_owned(), value.get("len")?.as_u64()?)),
                None => None,
            },
            chunks: match value.get("chunks") {
                Some(list) => Some(
                    list.as_array()?
                        .iter()
                        .map(chunk_of)
                        .collect::<Option<_>>()?,
                ),
                None => None,
            },
            encoded: match value.get("encoding") {
                Some(value) => Some(encoded_of(value)?),
                None => None,
            },
        };
        let side = end.side.iter().map(|(name, _)| name);
        let is_harmless = side
            .chain([&end.file])
            .chain(&end.replaces)
            .all(|name| is_harmless(name));
        is_harmless.then_some(end)
    }
}

fn texts(value: &Value, name: &str) -> Option<Vec<String>> {
    let list = value.get(name)?.as_array()?.iter();
    list.map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Whether a name of a file, perhaps one that a person gave, stays within its folder.
fn is_harmless(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn chunk_of(value: &Value) -> Option<(Duration, usize, bool)> {
    let at = Duration::from_micros(value.get(0)?.as_u64()?);
    let len = usize::try_from(value.get(1)?.as_u64()?).ok()?;
    Some((at, len, value.get(2)?.as_bool()?))
}

fn head_value(head: &ResponseHead) -> Value {
    json!({ "status": head.status, "reason": head.reason, "headers": header_lines(&head.headers) })
}

fn head_of(value: &Value) -> Option<ResponseHead> {
    Some(ResponseHead {
        status: u16::try_from(value.get("status")?.as_u64()?).ok()?,
        reason: value.get("reason")?.as_str().map(str::to_owned),
        headers: header_list(value.get("headers")?)?,
    })
}

fn bytes_of(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        _ => STANDARD
            .decode(value.get("b64")?.as_str()?)
            .ok()
            .map(Bytes::from),
    }
}
