//! One exchange on the writer's side: redacts what comes, tells the journal, and spools what is binary or large.
//!
//! What came lives in memory only; what goes to the disk has passed the redactor. The one exception is an encoded body,
//! which is kept as it came where its decoded form was found to hold no secret.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use crate::cassette::asked::Asked;
use crate::cassette::coding::{Came, Coding, Hunches, Settled};
use crate::cassette::draft::Draft;
use crate::cassette::entry::key_body;
use crate::cassette::event::{End, Event, Line, Piece, Stored};
use crate::cassette::files::{self, WriteError};
use crate::cassette::format::{INLINE_LIMIT, is_header, micros};
use crate::cassette::item::ItemBody;
use crate::cassette::queue::Begin;
use crate::cassette::side::{BODIES, SideFile};
use crate::cassette::spool::Spool;
use crate::cassette::wire::{Coded, Ended, Wire};
use crate::key::{Key, KeyRules};
use crate::message::{Chunk, Ending, Headers, ResponseHead};
use crate::mode::RecordPolicy;
use crate::sanitize::redact::{Redactor, fix_length};

/// An exchange that is being recorded.
#[derive(Debug)]
pub(crate) struct Intake {
    id: u64,
    folder: Arc<PathBuf>,
    pub(crate) draft: Draft,
    pub(crate) rules: Arc<KeyRules>,
    pub(crate) policy: RecordPolicy,
    redactor: Redactor,
    pub(crate) asked: Asked,
    wire: Option<Wire>,
    spool: Option<Spool>,
    /// Side files that were made for it.
    pub(crate) sides: Vec<String>,
    /// Whether there were more chunks than are kept.
    is_beyond_limit: bool,
}

/// What an exchange is once it ended.
pub(crate) struct Finished {
    pub(crate) draft: Draft,
    pub(crate) end: End,
    pub(crate) rules: Arc<KeyRules>,
    pub(crate) policy: RecordPolicy,
    /// Goes when the commit is written.
    pub(crate) spool: Option<Spool>,
    /// Side files that were made for it.
    pub(crate) sides: Vec<String>,
}

/// Where the body of an answer is kept, as [`End`] says it.
struct Placed {
    side: Option<(String, u64)>,
    chunks: Option<Vec<(Duration, usize, bool)>>,
}

impl Intake {
    /// Begins an exchange.
    pub(crate) fn new(
        id: u64,
        folder: &Arc<PathBuf>,
        begin: Begin,
        journal: &mut Vec<u8>,
    ) -> Option<Self> {
        let Begin {
            request,
            upstream,
            mut redactor,
            rules,
            policy,
            at,
        } = begin;
        let mut redacted = redactor.request_head(&request).into_inner();
        keep_readable(&mut redacted.headers);
        let at = at
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let event = Event::Begin {
            at: std::time::SystemTime::UNIX_EPOCH + whole(at),
            upstream,
            protocol: PROTOCOL.to_owned(),
            request: redacted,
        };
        Line {
            id,
            event: event.clone(),
        }
        .write(journal);
        Some(Self {
            id,
            folder: Arc::clone(folder),
            draft: Draft::begin(event)?,
            rules,
            policy,
            redactor,
            asked: Asked::new(request),
            wire: None,
            spool: None,
            sides: Vec::new(),
            is_beyond_limit: false,
        })
    }

    /// How many bytes it holds in memory that count for the queue's limit.
    pub(crate) fn held(&self) -> usize {
        self.asked.held() + self.wire.as_ref().map_or(0, Wire::held)
    }

    /// What is spoken with the upstream.
    pub(crate) fn protocol(&mut self, protocol: &str, journal: &mut Vec<u8>) {
        if protocol != self.draft.protocol {
            self.tell(Event::Protocol(protocol.to_owned()), journal);
        }
    }

    /// The answer's head.
    pub(crate) fn head(
        &mut self,
        head: &ResponseHead,
        after: Duration,
        journal: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        if self.draft.head.is_some() {
            return Ok(());
        }
        // The request goes first: what secrets it carried must be known before the answer is looked at.
        let key = self.key(journal)?;
        let mut kept = self.redactor.response_head(head).into_inner();
        keep_readable(&mut kept.headers);
        self.wire = Some(Wire::new(
            kept.clone(),
            self.redactor.stream(),
            self.redactor.stream(),
        ));
        if let Some(wire) = &self.wire
            && wire.is_encoded()
        {
            // What the journal holds of the body is decoded, and must say so if a crash makes it all there is.
            kept.headers.remove("content-encoding");
            fix_length(&mut kept, None);
        }
        let event = Event::Head {
            head: kept,
            after: whole(after),
            key,
            redacted: self.redactor.applied(),
        };
        self.tell(event, journal);
        Ok(())
    }

    /// A piece of the answer.
    pub(crate) fn chunk(&mut self, chunk: &Chunk, journal: &mut Vec<u8>) -> Result<(), WriteError> {
        let Some(wire) = &mut self.wire else {
            return Ok(());
        };
        let pieces = wire.push((whole(chunk.at), chunk.held), &chunk.bytes);
        for ((at, held), bytes) in pieces {
            self.keep(at, held, bytes.into_inner(), journal)?;
        }
        Ok(())
    }

    /// Header lines after the answer.
    pub(crate) fn trailers(&mut self, trailers: Headers, journal: &mut Vec<u8>) {
        let as_head = ResponseHead {
            status: 200,
            reason: None,
            headers: trailers,
        };
        let mut trailers = self.redactor.response_head(&as_head).into_inner().headers;
        keep_readable(&mut trailers);
        self.tell(Event::Trailers(trailers), journal);
    }

    /// The exchange ended. Where there is nothing to keep, names the side files that were made in vain.
    pub(crate) fn finish(
        mut self,
        ending: Ending,
        hunches: &mut Hunches,
        journal: &mut Vec<u8>,
    ) -> Result<Result<Finished, Vec<String>>, WriteError> {
        let Some(wire) = self.wire.take() else {
            return Ok(Err(self.sides));
        };
        let Ended {
            pieces,
            applied,
            head,
            coded,
        } = wire.finish(ending);
        for ((at, held), bytes) in pieces {
            self.keep(at, held, bytes.into_inner(), journal)?;
        }
        let key = match &self.draft.head {
            Some((_, _, key)) if !self.asked.is_news() => *key,
            _ => self.key(journal)?,
        };
        let is_beyond_limit = self.is_beyond_limit
            || matches!(&coded, Some(Coded::Decoded(unpacked)) if unpacked.is_beyond_limit);
        let ending = if is_beyond_limit {
            Ending::Limit
        } else {
            ending
        };
        let settled = self.settle(coded, head, ending, hunches);
        let Placed { side, chunks } = self.place(settled.body)?;
        let mut encoded = settled.encoded;
        if let (Some(encoded), Some(wire)) = (&mut encoded, &settled.wire) {
            let (name, len) = self.write_side(wire)?;
            let folder = PathBuf::new();
            encoded.wire = Some(SideFile { folder, name, len });
        }
        let mut redacted = self.redactor.applied();
        redacted.extend(applied);
        redacted.sort_unstable();
        redacted.dedup();
        let end = End {
            ending,
            head: settled.head,
            redacted,
            key,
            file: String::new(),
            replaces: Vec::new(),
            side,
            chunks,
            encoded,
        };
        Ok(Ok(Finished {
            draft: self.draft,
            end,
            rules: self.rules,
            policy: self.policy,
            spool: self.spool,
            sides: self.sides,
        }))
    }

    /// The exchange is not kept: what goes with it.
    pub(crate) fn discard(self) -> (Option<Spool>, Vec<String>) {
        (self.spool, self.sides)
    }

    fn tell(&mut self, event: Event, journal: &mut Vec<u8>) {
        let line = Line { id: self.id, event };
        line.write(journal);
        self.draft.apply(line.event);
    }

    /// Tells the journal the request's body as far as it came, and makes the key.
    fn key(&mut self, journal: &mut Vec<u8>) -> Result<Key, WriteError> {
        let body = self.asked.whole().map(|whole| {
            let redacted = self.redactor.request_body(&self.asked.head, &whole);
            redacted.into_inner()
        });
        let canonical = self
            .rules
            .canonical(&self.draft.request, key_body(body.as_deref()));
        let stored = match body {
            None => Stored::TooLarge,
            Some(body) if is_inline(&body) => Stored::Inline(body),
            Some(body) => {
                let (name, len) = self.write_side(&body)?;
                Stored::Side(name, len)
            }
        };
        if stored != self.draft.request_body {
            self.tell(Event::RequestBody(stored), journal);
        }
        self.asked.told();
        Ok(canonical.key())
    }

    /// What is kept of an answer whose body came to its end, encoded or not.
    fn settle(
        &self,
        coded: Option<Coded>,
        head: ResponseHead,
        ending: Ending,
        hunches: &mut Hunches,
    ) -> Settled {
        let name = head.headers.get_str("content-encoding");
        let name = name.unwrap_or_default().to_owned();
        match coded {
            None => Settled::plain(head),
            Some(Coded::Undecoded(why)) => Settled::undecoded(head, name, why),
            Some(Coded::Decoded(unpacked)) => Coding {
                name,
                upstream: &self.draft.upstream,
                items: &self.draft.items,
                ending,
            }
            .settle(unpacked, head, hunches),
        }
    }

    /// Keeps the body in a side file, unless it was told chunk by chunk. `came` is the body as it came, if that is what is
    /// kept.
    fn place(&mut self, came: Option<Came>) -> Result<Placed, WriteError> {
        let (side, chunks) = match came {
            Some(came) if came.bytes.is_empty() => (None, Some(Vec::new())),
            Some(came) => (Some(self.write_side(&came.bytes)?), Some(came.chunks)),
            None => match &self.spool {
                Some(spool) => (Some(spool.keep(&self.folder)?), None),
                None => (None, None),
            },
        };
        Ok(Placed { side, chunks })
    }

    /// Makes a side file of redacted bytes.
    fn write_side(&mut self, bytes: &[u8]) -> Result<(String, u64), WriteError> {
        let bodies = self.folder.join(BODIES);
        let name = files::write_side(&self.folder, bytes).map_err(WriteError::at(&bodies))?;
        self.sides.push(name.clone());
        Ok((name, bytes.len() as u64))
    }

    /// Keeps a redacted piece of the answer.
    fn keep(
        &mut self,
        at: Duration,
        held: bool,
        bytes: Bytes,
        journal: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        if bytes.is_empty() || self.is_beyond_limit {
            return Ok(());
        }
        if self.draft.items.len() >= MAX_ITEMS {
            warn!("an answer of more than {MAX_ITEMS} chunks is recorded up to there");
            self.is_beyond_limit = true;
            return Ok(());
        }
        if self.spool.is_none()
            && (self.draft.inline + bytes.len() > INLINE_LIMIT
                || (is_binary(&bytes) && !self.is_textual()))
        {
            self.open_spool(journal)?;
        }
        let bytes = match &mut self.spool {
            None => Piece::Inline(bytes),
            Some(spool) => {
                spool.write(&bytes)?;
                Piece::Spooled(bytes.len())
            }
        };
        self.tell(Event::Chunk { at, held, bytes }, journal);
        Ok(())
    }

    /// Whether the answer claims to be text, so that odd bytes are better told one by one.
    fn is_textual(&self) -> bool {
        let head = self.draft.head.as_ref().map(|(head, ..)| head);
        head.and_then(ResponseHead::media_type)
            .is_some_and(|media| media.starts_with("text/") || media.ends_with("json"))
    }

    /// From now on the answer's bytes, those that came before too, are in a file.
    fn open_spool(&mut self, journal: &mut Vec<u8>) -> Result<(), WriteError> {
        let mut spool = Spool::new(&self.folder, self.id)?;
        for item in &self.draft.items {
            if let ItemBody::Inline(bytes) = &item.body {
                spool.write(bytes)?;
            }
        }
        self.spool = Some(spool);
        self.tell(Event::Spool, journal);
        Ok(())
    }
}

/// Whole microseconds, as they are written.
fn whole(duration: Duration) -> Duration {
    Duration::from_micros(micros(duration))
}

/// Takes out lines that could not be read again. The wire has none such; a filter above might.
fn keep_readable(headers: &mut Headers) {
    headers.retain(|name, value| is_header(name, value));
}

/// Whether a request's body stands in the recording itself.
fn is_inline(body: &[u8]) -> bool {
    let is_text = std::str::from_utf8(body).is_ok() && !body.contains(&0);
    body.len()
        <= if is_text {
            INLINE_LIMIT
        } else {
            BINARY_INLINE_LIMIT
        }
}

/// Whether a chunk is no text, cut through a character or not.
fn is_binary(bytes: &[u8]) -> bool {
    if bytes.contains(&0) {
        return true;
    }
    let lead = bytes
        .iter()
        .take(3)
        .take_while(|&&byte| byte & 0b1100_0000 == 0b1000_0000)
        .count();
    std::str::from_utf8(&bytes[lead..]).is_err_and(|error| error.error_len().is_some())
}

/// Until an upstream is spoken to in another way.
const PROTOCOL: &str = "http/1.1";

/// Binary bodies of requests up to here are not worth a file of their own.
const BINARY_INLINE_LIMIT: usize = 1024;

/// More chunks than any stream that a person looks at; each takes memory while it's recorded.
const MAX_ITEMS: usize = 1_000_000;
