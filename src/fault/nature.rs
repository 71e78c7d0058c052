//! What a kind of fault is by its nature: its word, what it needs and changes, where it begins and ends, and where it can't
//! be done. One row a kind, so that a new one has to say all of it.

use super::kind::{How, KeepAlive, Kind};
use super::position::Position;
use super::when::Protocol;

impl Kind {
    /// Its word: the key of the config under which it is written.
    pub fn word(&self) -> &'static str {
        self.nature().word
    }

    /// Whether it has to know where an event of a stream begins and ends.
    pub fn needs_events(&self) -> bool {
        self.nature().events != Events::Unseen
    }

    /// Whether it looks at the bytes of the body, or puts others in: an encoding has to come off before.
    pub fn changes_content(&self) -> bool {
        matches!(self.nature().body, Body::Content | Body::All)
    }

    /// Whether it changes how many bytes there are, or how their end is marked.
    pub fn changes_length(&self) -> bool {
        matches!(self.nature().body, Body::Length | Body::All)
    }

    /// Whether what it does is done to a body, or in it: without one it does nothing.
    pub fn is_on_body(&self) -> bool {
        let nature = self.nature();
        let begins = nature.begins;
        begins.is_some_and(|place| *place != Position::BeforeHead)
            || nature.events != Events::Unseen
            || !matches!(nature.body, Body::Nothing)
    }

    /// Whether it does nothing to a body that is no stream of events.
    pub fn is_on_streams(&self) -> bool {
        self.nature().events == Events::Only
    }

    /// Whether it acts on the upload, so that it has to be armed before that is read.
    pub fn is_on_upload(&self) -> bool {
        self.nature().is_on_upload
    }

    /// Whether what the client gets does not need the source at all.
    pub fn answers_alone(&self) -> bool {
        self.nature().answers_alone
    }

    /// Why it can't be done on this protocol; `None` where it can.
    pub fn impossible_on(&self, protocol: Protocol) -> Option<&'static str> {
        let nature = self.nature();
        match protocol {
            Protocol::Http1 => nature.not_on_http1,
            Protocol::Http2 => nature.not_on_http2,
        }
    }

    /// Where it begins, if that is one place in the answer.
    pub fn begins(&self) -> Option<&Position> {
        self.nature().begins
    }

    /// Where it ends the answer whatever comes, if it does.
    pub fn ends(&self) -> Option<&Position> {
        self.nature().ends
    }

    fn nature(&self) -> Nature<'_> {
        let of = Nature::of;
        match self {
            Self::Latency { .. } => of("latency"),
            Self::FirstToken(_) => of("first_token").on_streams().begins(&Position::FirstToken),
            Self::Gap { .. } => of("gap").on_streams(),
            Self::Bandwidth { up: None, .. } => of("bandwidth"),
            Self::Bandwidth { up: Some(_), .. } => of("bandwidth").on_upload(),
            Self::Dribble { .. } => of("dribble"),
            Self::SlowHead { .. } => of("slow_head").not_on_http2(NO_TEXT),
            Self::SlowRead(_) => of("slow_read").on_upload(),
            Self::Stall {
                after,
                keepalive: KeepAlive::None,
                ..
            } if ends_framing(after) => of("stall").at(after).changes(Body::Length),
            Self::Stall {
                after,
                keepalive: KeepAlive::None,
                ..
            } => of("stall").at(after),
            // What is sent in the silence must fall between two events.
            Self::Stall {
                after,
                keepalive: KeepAlive::Comment | KeepAlive::Ping,
                ..
            } => of("stall").at(after).on_events().changes(Body::All),
            Self::HoldOpen(_) => of("hold_open").begins(&Position::End).changes(Body::All),
            Self::Cut { after, how } => how.nature(after),
            Self::Empty => of("empty").instead().not_on_http2(ALL_EXCHANGES),
            Self::Blackhole => of("blackhole").instead(),
            Self::Status(_) => of("status").alone(),
            Self::ErrorEvent { after, .. } => {
                of("error_event").at(after).on_streams().changes(Body::All)
            }
            Self::Corrupt { after, .. } => of("corrupt").at(after).changes(Body::Content),
            Self::Garbage(_) => of("garbage").instead().not_on_http2(ALL_EXCHANGES),
            Self::MalformedChunk { after } => of("malformed_chunk")
                .at(after)
                .changes(Body::All)
                .not_on_http2(NO_CHUNKS),
            Self::InvalidJson(_) => of("invalid_json").on_events().changes(Body::All),
            Self::TwoObjects(_) => of("two_objects").on_streams().changes(Body::All),
            Self::Drop(_) => of("drop").on_streams().changes(Body::All),
            Self::Duplicate(_) => of("duplicate").on_streams().changes(Body::All),
            Self::Reorder(_) => of("reorder").on_streams(),
            Self::Merge(_) => of("merge").on_streams(),
            Self::Split(_) => of("split").on_streams(),
            Self::SplitUtf8 => of("split_utf8").changes(Body::Content),
            Self::InvalidUtf8(_) => of("invalid_utf8").on_streams().changes(Body::All),
            Self::DropEventLines => of("drop_event_lines").on_streams().changes(Body::All),
            Self::ToolArgs(_) => of("tool_args").on_events().changes(Body::All),
            Self::ContentType(_) => of("content_type"),
            Self::ContentEncoding(_) => of("content_encoding"),
            Self::Header(_) => of("header"),
            Self::Html200 => of("html_200").alone(),
            Self::RateLimit { .. } => of("rate_limit").alone(),
        }
    }
}

impl How {
    /// Whether it is a way to end a body, so that a head has to come before.
    pub fn needs_head(self) -> bool {
        match self {
            Self::CleanEnd
            | Self::MissingTerminator
            | Self::MissingLastChunk
            | Self::CloseFramed
            | Self::ShortBody => true,
            Self::Reset | Self::H2Reset(_) | Self::GoAway(_) => false,
        }
    }

    /// That of a cut here.
    fn nature(self, after: &Position) -> Nature<'_> {
        let mut cut = Nature::of("cut").at(after);
        cut.ends = Some(after);
        cut.answers_alone = *after == Position::BeforeHead;
        match self {
            Self::CleanEnd => cut.changes(Body::Length),
            // All else comes, so nothing ends at the place, and it begins where the terminator would come.
            Self::MissingTerminator => Nature {
                begins: Some(&Position::BeforeTerminator),
                ends: None,
                ..cut.on_streams().changes(Body::Length)
            },
            Self::MissingLastChunk => cut.changes(Body::Length).not_on_http2(NO_CHUNKS),
            Self::CloseFramed => cut.not_on_http2(NO_CHUNKS),
            Self::Reset if ends_framing(after) => cut.changes(Body::Length),
            Self::ShortBody | Self::Reset => cut,
            Self::H2Reset(_) | Self::GoAway(_) => cut.not_on_http1(ONLY_HTTP2),
        }
    }
}

/// What holds for a kind, and nothing more until it is added.
struct Nature<'a> {
    word: &'static str,
    events: Events,
    body: Body,
    is_on_upload: bool,
    answers_alone: bool,
    begins: Option<&'a Position>,
    ends: Option<&'a Position>,
    /// Why it can't be done there.
    not_on_http1: Option<&'static str>,
    not_on_http2: Option<&'static str>,
}

/// What it has to do with the events of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Events {
    /// Nothing.
    Unseen,
    /// It has to know where one begins and ends.
    Seen,
    /// And does nothing elsewhere.
    Only,
}

/// What of the source's body is no longer so afterwards.
enum Body {
    /// Nothing, as far as an encoding or a length could tell.
    Nothing,
    /// Some bytes.
    Content,
    /// How many there are, or how their end is marked.
    Length,
    /// Both.
    All,
}

impl<'a> Nature<'a> {
    fn of(word: &'static str) -> Self {
        Self {
            word,
            events: Events::Unseen,
            body: Body::Nothing,
            is_on_upload: false,
            answers_alone: false,
            begins: None,
            ends: None,
            not_on_http1: None,
            not_on_http2: None,
        }
    }

    fn on_events(self) -> Self {
        Self {
            events: Events::Seen,
            ..self
        }
    }

    /// Does nothing elsewhere.
    fn on_streams(self) -> Self {
        Self {
            events: Events::Only,
            ..self
        }
    }

    /// Begins at a place that the rule names, which may be one among events.
    fn at(self, place: &'a Position) -> Self {
        Self {
            events: if is_among_events(place) {
                Events::Seen
            } else {
                Events::Unseen
            },
            ..self.begins(place)
        }
    }

    fn begins(self, place: &'a Position) -> Self {
        Self {
            begins: Some(place),
            ..self
        }
    }

    fn changes(self, body: Body) -> Self {
        Self { body, ..self }
    }

    fn on_upload(self) -> Self {
        Self {
            is_on_upload: true,
            ..self
        }
    }

    /// Needs no source.
    fn alone(self) -> Self {
        Self {
            answers_alone: true,
            ..self
        }
    }

    /// Needs no source, and lets nothing come of an answer.
    fn instead(self) -> Self {
        Self {
            ends: Some(&Position::BeforeHead),
            ..self.alone()
        }
    }

    fn not_on_http1(self, why: &'static str) -> Self {
        Self {
            not_on_http1: Some(why),
            ..self
        }
    }

    fn not_on_http2(self, why: &'static str) -> Self {
        Self {
            not_on_http2: Some(why),
            ..self
        }
    }
}

/// Whether all of the body may be through there: with a length in the head a client would not wait for what follows.
fn ends_framing(place: &Position) -> bool {
    match place {
        Position::Events(_) | Position::BeforeTerminator | Position::End => true,
        Position::FirstToolCall
        | Position::FirstToken
        | Position::BeforeHead
        | Position::Head
        | Position::Bytes(_)
        | Position::Time(_) => false,
    }
}

fn is_among_events(place: &Position) -> bool {
    match place {
        Position::Events(_)
        | Position::FirstToolCall
        | Position::FirstToken
        | Position::BeforeTerminator => true,
        Position::BeforeHead
        | Position::Head
        | Position::Bytes(_)
        | Position::Time(_)
        | Position::End => false,
    }
}

const NO_CHUNKS: &str = "its frames carry lengths of their own, there are no chunks to break";
const NO_TEXT: &str = "its heads are compressed frames, which a client takes whole or not at all";
const ALL_EXCHANGES: &str = "it would take all exchanges of the connection, not one";
const ONLY_HTTP2: &str = "its frames exist in HTTP/2 only";
