//! Words for what passes over the wire: heads, headers, chunks, and how an answer ended.
//!
//! Plain values without I/O and without a clock. Everything above speaks in these.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// Whether a header is one of ours: `x-rehearsal-…`. What they say is of one hop alone.
pub fn is_ours(name: &str) -> bool {
    const OURS: &str = "x-rehearsal-";
    name.get(..OURS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

/// In an answer: a fault that hit it. A line for each.
pub const FAULT_HEADER: &str = "x-rehearsal-fault";

/// Header lines in their order, with the case of their names as they were sent.
///
/// Looking up ignores case. Values are bytes, because HTTP allows any byte above 0x7f in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    lines: Vec<(String, Bytes)>,
}

impl Headers {
    /// No header lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line at the end; earlier lines of the same name stay.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        self.lines.push((name.into(), value.into()));
    }

    /// The value of the first line of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.lines
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    /// The value of the first line of this name, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all lines of this name, in their order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines
            .iter()
            .filter(move |(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    /// Whether a line of this name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Takes out all lines of this name; says whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.lines.len();
        self.lines
            .retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.lines.len() != before
    }

    /// Puts this value in the place of the first line of this name and takes out the others; adds a line where
    /// there is none.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        let value = value.into();
        match self
            .lines
            .iter()
            .position(|(have, _)| have.eq_ignore_ascii_case(name))
        {
            Some(first) => {
                self.lines[first].1 = value;
                let mut index = 0;
                self.lines.retain(|(have, _)| {
                    index += 1;
                    index - 1 <= first || !have.eq_ignore_ascii_case(name)
                });
            }
            None => self.push(name, value),
        }
    }

    /// Keeps the lines for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Bytes) -> bool) {
        self.lines.retain(|(name, value)| keep(name, value));
    }

    /// The lines in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.lines
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl<N: Into<String>, V: Into<Bytes>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        Self {
            lines: lines
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}

/// The head of a request, without what concerns one connection only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent; methods are case-sensitive.
    pub method: String,
    /// From the first `/` up to the `?`, percent-encoding as sent. `*` for `OPTIONS *`.
    pub path: String,
    /// What follows the `?`, undecoded. `None` where there is no `?`.
    pub query: Option<String>,
    /// In their order.
    pub headers: Headers,
}

impl RequestHead {
    /// Path and query as they stand in the request line.
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The media type of the body in lower case, without parameters.
    pub fn media_type(&self) -> Option<String> {
        media_type(&self.headers)
    }
}

/// The head of an answer, without what concerns one connection only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100..=999
    pub status: u16,
    /// As sent. `None` where it is the usual one for the status, or HTTP/2.
    pub reason: Option<String>,
    /// In their order.
    pub headers: Headers,
}

impl ResponseHead {
    /// The media type of the body in lower case, without parameters.
    pub fn media_type(&self) -> Option<String> {
        media_type(&self.headers)
    }
}

fn media_type(headers: &Headers) -> Option<String> {
    let value = headers.get_str("content-type")?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}

/// A piece of a body as it was read, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// From the moment the head had come to the moment that these bytes were read.
    pub at: Duration,
    /// Never empty.
    pub bytes: Bytes,
    /// Whether the reader had stopped for a slow client when these bytes came, so that `at` may be late.
    pub held: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Its framing came to its end.
    Complete,
    /// The upstream closed the connection before the end of the framing.
    Closed,
    /// The upstream reset the connection.
    Reset,
    /// The upstream was silent for longer than the idle timeout.
    TimedOut,
    /// The upstream sent bytes that are not HTTP where its framing should go on.
    Malformed,
    /// The client left, and the rest was not waited for.
    ClientLeft,
    /// A limit on recording was reached; the client got the rest.
    Limit,
    /// The process ended while the answer was coming.
    Interrupted,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Complete,
        Self::Closed,
        Self::Reset,
        Self::TimedOut,
        Self::Malformed,
        Self::ClientLeft,
        Self::Limit,
        Self::Interrupted,
    ];

    /// The word for it in cassettes and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::TimedOut => "timed-out",
            Self::Malformed => "malformed",
            Self::ClientLeft => "client-left",
            Self::Limit => "limit",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether what came is all that the upstream had to say, broken off or not, so that it can be replayed.
    pub fn is_whole(self) -> bool {
        match self {
            Self::Complete | Self::Closed | Self::Reset | Self::TimedOut | Self::Malformed => true,
            Self::ClientLeft | Self::Limit | Self::Interrupted => false,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_a_header_keeps_its_place_and_takes_out_repetitions() {
        let mut headers: Headers = [("A", "1"), ("B", "2"), ("a", "3"), ("C", "4")]
            .into_iter()
            .collect();
        headers.set("A", "9");
        headers.set("d", "5");
        let lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name, value.as_ref()))
            .collect();
        assert_eq!(
            lines,
            [("A", &b"9"[..]), ("B", b"2"), ("C", b"4"), ("d", b"5")]
        );
    }

    #[test]
    fn every_ending_has_a_word_of_its_own() {
        let words: std::collections::HashSet<_> =
            Ending::ALL.iter().map(|ending| ending.as_str()).collect();
        assert_eq!(words.len(), Ending::ALL.len());
    }
}
