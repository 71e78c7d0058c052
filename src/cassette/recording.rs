//! One recorded exchange in memory: what was recorded, what it matches, and how it is played.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde_json::{Map, Value};

use crate::cassette::encoded::{Encoded, Playback};
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

/// What passed after the head.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// From the moment the head had come to the moment that it was read.
    pub at: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// What it is.
    pub kind: ItemKind,
    /// Its bytes. Empty for trailers only, or for an empty frame.
    pub body: ItemBody,
    /// Whether the reader had stopped for a slow client, so that `at` may be late.
    pub held: bool,
}

/// Which way an item went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Up,
    /// From the upstream to the client.
    #[default]
    Down,
}

/// What an item is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ItemKind {
    /// A piece of a body.
    #[default]
    Bytes,
    /// A message with bounds of its own, such as a frame of a WebSocket or a message of gRPC.
    Frame {
        /// What sort of frame, such as `text`, `binary`, `ping` or `message`.
        sort: String,
    },
    /// Header lines after a body.
    Trailers(Headers),
}

/// Where the bytes of an item are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemBody {
    /// Here.
    Inline(Bytes),
    /// In the side file. `offset + len <= side.len`
    Side {
        /// From the beginning of the file.
        offset: u64,
        /// How many.
        len: usize,
    },
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

/// A file beside a recording that holds the bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideFile {
    /// The folder of the cassette.
    pub folder: PathBuf,
    /// Within `bodies/`; a plain name.
    pub name: String,
    /// As the recording claims and as it was found on reading it.
    pub len: u64,
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

impl ItemBody {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Side { len, .. } => *len,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

impl SideFile {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(BODIES).join(&self.name)
    }

    /// Opens it for reading; the caller may keep it open while it plays.
    ///
    /// # Errors
    ///
    /// Where it or its folder is a symbolic link, where it is no plain file, or has another length than was claimed.
    pub fn open(&self) -> io::Result<File> {
        let file = open_side(&self.folder, &self.name)?;
        let len = file.metadata()?.len();
        if len == self.len {
            Ok(file)
        } else {
            Err(io::Error::other(format!(
                "has {len} bytes, {} were expected",
                self.len
            )))
        }
    }

    /// Bytes of the opened file.
    ///
    /// # Errors
    ///
    /// Where they reach beyond its claimed length, or it became shorter.
    pub fn read_at(&self, file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }
}

/// Opens `bodies/NAME` for reading, following no symbolic link below the cassette's folder.
pub(crate) fn open_side(folder: &Path, name: &str) -> io::Result<File> {
    let bodies = openat(
        CWD,
        folder.join(BODIES),
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Without NONBLOCK a named pipe would keep us waiting.
    let file = File::from(openat(
        bodies,
        name,
        OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("is not a plain file"))
    }
}

/// The folder for side files within a cassette.
pub(crate) const BODIES: &str = "bodies";
