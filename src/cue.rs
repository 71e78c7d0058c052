//! One instruction to the writer, and when. What faults and shaping both speak, and the pump carries out.
//!
//! Moments are counted from the end of the request; nothing here reads a clock.

use std::time::Duration;

use bytes::Bytes;

use crate::message::{Ending, Headers, ResponseHead};

/// One instruction to the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cue {
    /// Send the head; so many bytes at a time where a drip is given.
    Head(Box<ResponseHead>, Option<Drip>),
    /// Send a piece of the body, in one write.
    Send(Bytes),
    /// Say nothing.
    Hold(Silence),
    /// Send header lines after the body.
    Trailers(Headers),
    /// End as the source ended.
    End(Ending),
    /// Break the answer off; nothing follows.
    Cut(Cut),
}

/// A cue with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Not before this moment. `None`: at once.
    pub due: Option<Duration>,
    /// What it would be without faults; in force again when the fault is lifted.
    pub natural: Option<Duration>,
    /// The fault whose doing it is: the one that set `due`, or that made the cue. A place in the list of the script.
    pub fault: Option<usize>,
    /// Whether it must not leave together with what stands before it.
    pub is_apart: bool,
    /// What to do.
    pub cue: Cue,
}

impl Timed {
    /// At once, by nobody's doing.
    pub fn now(cue: Cue) -> Self {
        Self {
            due: None,
            natural: None,
            fault: None,
            is_apart: false,
            cue,
        }
    }
}

/// So many bytes, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drip {
    /// At a time, at least 1.
    pub bytes: usize,
    /// From one to the next.
    pub every: Duration,
}

/// A silence, which noise may hide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// How long, from the moment that it begins. `None`: until the fault is lifted or the client leaves.
    pub time: Option<Duration>,
    /// What is sent meanwhile, and how often.
    pub noise: Option<(Bytes, Duration)>,
}

/// How an answer is broken off. On HTTP/2 only the last two touch other exchanges on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The connection is closed before the end of the framing. Where only the end of the connection would mark the end, it is
    /// reset, so that it can't be taken for that. On HTTP/2 the stream is reset with `INTERNAL_ERROR`.
    Close,
    /// The connection is closed by a FIN, whatever the client makes of it. On HTTP/2 the stream ends as if it were complete.
    Fin,
    /// These bytes go out as they are, below the framing; then the connection is closed. On HTTP/2 the stream is reset.
    Garbage(Bytes),
    /// The connection is reset; on HTTP/2 the stream, with `CANCEL`.
    Reset,
    /// The stream is reset with this code; on HTTP/1 the connection is reset.
    H2Reset(u32),
    /// GOAWAY with this code, and the connection is closed; on HTTP/1 it is reset.
    GoAway(u32),
    /// The connection is reset, whatever else it carries.
    ResetConnection,
}
