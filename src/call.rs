//! Words for a call to an upstream: what is sent, what comes back, what can go wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::message::{Chunk, Ending, RequestHead, ResponseHead};
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

/// What an upstream says, in order: any number of interim heads, then a head, chunks and an end, or a failure.
#[derive(Debug)]
pub enum Said {
    /// A head with a status from 100 to 199.
    Interim(ResponseHead),
    /// The head of the answer.
    Head(ResponseHead),
    /// Some of its body. Dropping the permit makes room for the reader to go on.
    Chunk(Chunk, Option<OwnedSemaphorePermit>),
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
    #[error("{origin} answered with something that is not HTTP/1.1")]
    Malformed {
        /// The upstream.
        origin: String,
    },
    /// The request can't be written as HTTP/1.1.
    #[error("the request can't be sent to {origin}: {reason}")]
    Unsendable {
        /// The upstream.
        origin: String,
        /// Why not.
        reason: String,
    },
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
            | Self::Malformed { .. }
            | Self::Unsendable { .. } => false,
        }
    }
}
