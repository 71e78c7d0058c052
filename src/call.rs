//! Words for a call to an upstream: what is sent, what comes back, what can go wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::link::Link;
use crate::message::{Chunk, Ending, Headers, RequestHead, ResponseHead};
use crate::origin::Origin;
use crate::plan::{CallTimeouts, Drain};

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// As many bytes as `Content-Length` says.
    Known(u64),
    /// Chunked.
    Unknown,
}

impl BodyLength {
    /// Whether there is at least one byte, or may be.
    pub fn is_some(self) -> bool {
        !matches!(self, Self::None | Self::Known(0))
    }
}

/// A request ready to be sent.
pub struct Call {
    /// Where to.
    pub origin: Arc<Origin>,
    /// How it is spoken with.
    pub link: Arc<Link>,
    /// As it goes out, `Host` included; framing headers are added by [`Call::body`].
    pub head: RequestHead,
    /// How the body is framed.
    pub body: BodyLength,
    /// Times allowed.
    pub timeouts: CallTimeouts,
    /// How many bytes of the answer may wait for the client. At least 64 KiB.
    pub ahead: usize,
    /// What of the answer is still read for the recorder when the client has left.
    pub drain: Drain,
}

/// A piece of the request's body on its way up.
pub enum Piece {
    /// Some bytes, never none.
    Data(Bytes),
    /// The body is through.
    End,
}

/// What an upstream says, in order: any number of interim heads, then a head, chunks,
/// at most once trailers, and an end; or a failure.
#[derive(Debug)]
pub enum Said {
    /// A head with a status from 100 to 199.
    Interim(ResponseHead),
    /// The head of the answer.
    Head(ResponseHead),
    /// The head of an answer that is complete with it; no end is said.
    Whole(ResponseHead),
    /// Some of its body. Dropping the permit makes room for the reader to go on.
    Chunk(Chunk, Option<OwnedSemaphorePermit>),
    /// Header lines after the body.
    Trailers(Headers),
    /// The answer is over, one way or another.
    End(Ending),
    /// There was no answer.
    Failed(UpstreamError),
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Its name has no address.
    #[error("could not resolve `{host}`: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection.
    #[error("could not connect to {origin}: {reason}")]
    Connect {
        /// The upstream.
        origin: String,
        /// What the system or TLS said.
        reason: String,
    },
    /// No connection in time.
    #[error("could not connect to {origin} within {after:?} (`timeouts.connect`)")]
    ConnectTimedOut {
        /// The upstream.
        origin: String,
        /// The timeout.
        after: Duration,
    },
    /// The connection ended before the head of the answer.
    #[error("{origin} closed the connection before it answered")]
    Closed {
        /// The upstream.
        origin: String,
    },
    /// The connection was reset before the head of the answer.
    #[error("{origin} reset the connection before it answered")]
    Reset {
        /// The upstream.
        origin: String,
    },
    /// HTTP/2: the stream of the request was reset before the head of the answer.
    #[error("{origin} reset the stream of the request before it answered ({code})")]
    StreamReset {
        /// The upstream.
        origin: String,
        /// The name of the error, as in RFC 9113.
        code: String,
    },
    /// What came is not HTTP/2, or not as it should be.
    #[error(
        "{origin} does not speak HTTP/2 as it should: {reason}; `http = \"1.1\"` speaks HTTP/1.1 with it"
    )]
    NotHttp2 {
        /// The upstream.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// No head in time.
    #[error("{origin} did not begin to answer within {after:?} (`timeouts.first_byte`)")]
    FirstByteTimedOut {
        /// The upstream.
        origin: String,
        /// The timeout.
        after: Duration,
    },
    /// The request could not be sent in time.
    #[error("{origin} took none of the request for {after:?} (`timeouts.idle`)")]
    SendTimedOut {
        /// The upstream.
        origin: String,
        /// The timeout.
        after: Duration,
    },
    /// What came is not HTTP.
    #[error(
        "{origin} answered with something that is not HTTP/1.1{}",
        other_tongues(origin)
    )]
    Malformed {
        /// The upstream.
        origin: String,
    },
    /// The request can't be written as HTTP.
    #[error("the request can't be sent to {origin}: {reason}")]
    Unsendable {
        /// The upstream.
        origin: String,
        /// Why not.
        reason: String,
    },
}

/// What an upstream may speak instead, and how it is then named.
fn other_tongues(origin: &str) -> &'static str {
    if origin.starts_with("http://") {
        "; if it speaks TLS, its URL begins with `https://`, and if it speaks HTTP/2 alone, add `http = \"2\"` to the route"
    } else {
        ""
    }
}

impl UpstreamError {
    /// Whether it was a matter of time: a gateway timeout rather than a bad gateway.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::ConnectTimedOut { .. }
            | Self::FirstByteTimedOut { .. }
            | Self::SendTimedOut { .. } => true,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Closed { .. }
            | Self::Reset { .. }
            | Self::StreamReset { .. }
            | Self::NotHttp2 { .. }
            | Self::Malformed { .. }
            | Self::Unsendable { .. } => false,
        }
    }
}
