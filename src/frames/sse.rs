//! Server-sent events: where one ends and the next begins, byte for byte, and what it says.
//!
//! The splitter keeps every byte: what it yields, put together, is what it was fed, comments, blank lines and all. What a
//! frame means is a view on its bytes. Framing follows the event stream format of the WHATWG HTML standard.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::utf8::unfinished;

/// Finds frames in bytes that come in any pieces.
///
/// A frame ends with its blank line. Blank lines that follow directly belong to the next frame.
#[derive(Debug)]
pub struct SseSplitter {
    buffer: BytesMut,
    /// How much of `buffer` was looked at. `scanned <= buffer.len()`
    scanned: usize,
    place: Place,
    /// Whether the frame has a line that is not blank.
    has_content: bool,
    max_frame: usize,
}

/// Where in a frame the splitter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No byte of the line has come.
    LineStart,
    /// The same, but an LF that comes now belongs to the line end before.
    AfterCr,
    /// Inside a line.
    Line,
    /// The frame is complete with a CR, and waits for the LF that may follow.
    Ended,
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// With all its line ends.
    pub bytes: Bytes,
    /// Whether it came to its blank line. Not so for the rest at the end of a stream, and for the pieces of a frame that
    /// is larger than the bound.
    pub is_complete: bool,
}

impl SseSplitter {
    /// A splitter which yields a frame larger than `max_frame` bytes in pieces that are not complete. They end between two
    /// characters.
    pub fn new(max_frame: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            place: Place::LineStart,
            has_content: false,
            max_frame: max_frame.max(1),
        }
    }

    /// Takes the next bytes and gives the frames that end in them.
    ///
    /// A frame that ends with a lone CR is given with the next byte, as that may be the LF which belongs to it.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<RawFrame> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(&byte) = self.buffer.get(self.scanned) {
            if self.place == Place::Ended {
                // An LF after the CR is the other half of the same line end.
                let lf = byte == b'\n';
                self.cut(self.scanned + usize::from(lf), true, &mut frames);
                if lf {
                    continue;
                }
            }
            self.scanned += 1;
            self.step(byte, &mut frames);
        }
        frames
    }

    /// What is left when the stream has ended.
    pub fn finish(&mut self) -> Option<RawFrame> {
        let mut frames = Vec::new();
        if !self.buffer.is_empty() {
            let ended = self.place == Place::Ended;
            self.cut(self.buffer.len(), ended, &mut frames);
        }
        frames.pop()
    }

    /// How many bytes are held because their frame has not ended.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a frame is complete, and only waits for the LF that may follow its CR.
    pub fn is_ended(&self) -> bool {
        self.place == Place::Ended
    }

    /// The frame that is complete but for an LF that may follow its CR. If one follows, it begins the next frame.
    pub fn take_ended(&mut self) -> Option<Bytes> {
        let mut frames = Vec::new();
        if self.is_ended() {
            self.cut(self.buffer.len(), true, &mut frames);
        }
        frames.pop().map(|frame| frame.bytes)
    }

    fn step(&mut self, byte: u8, frames: &mut Vec<RawFrame>) {
        let is_blank = self.place != Place::Line;
        self.place = match (self.place, byte) {
            // The CR has already been counted as the line end.
            (Place::AfterCr, b'\n') => Place::LineStart,
            (_, b'\n') if is_blank && self.has_content => {
                self.cut(self.scanned, true, frames);
                return;
            }
            (_, b'\r') if is_blank && self.has_content => {
                self.place = Place::Ended;
                return;
            }
            (_, b'\n') => Place::LineStart,
            (_, b'\r') => Place::AfterCr,
            _ => {
                self.has_content = true;
                Place::Line
            }
        };
        if self.scanned >= self.max_frame {
            self.cut_piece(frames);
        }
    }

    /// Gives the first `length` bytes away and begins a new frame.
    fn cut(&mut self, length: usize, is_complete: bool, frames: &mut Vec<RawFrame>) {
        let bytes = self.buffer.split_to(length.min(self.buffer.len())).freeze();
        self.scanned = 0;
        self.place = Place::LineStart;
        self.has_content = false;
        frames.push(RawFrame { bytes, is_complete });
    }

    /// Gives what came of a frame that is too large, up to its last whole character. The frame goes on after it.
    fn cut_piece(&mut self, frames: &mut Vec<RawFrame>) {
        let scanned = self.buffer.get(..self.scanned).unwrap_or_default();
        let begun = unfinished(scanned);
        let bytes = self.buffer.split_to(scanned.len() - begun).freeze();
        self.scanned = begun;
        if bytes.is_empty() {
            return;
        }
        frames.push(RawFrame {
            bytes,
            is_complete: false,
        });
    }
}

/// What a frame says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The value of its last `event` field.
    pub event: Option<Cow<'a, str>>,
    /// The values of its `data` fields, joined by LF. `None` where there is no such field: then a browser dispatches
    /// nothing.
    pub data: Option<Cow<'a, str>>,
    /// The value of its last `id` field. One with a NUL does not count.
    pub id: Option<Cow<'a, str>>,
    /// The value of its last `retry` field, in milliseconds. One that is not all digits does not count.
    pub retry: Option<u64>,
    /// Whether it has a comment and nothing else, as a keep-alive.
    pub is_comment: bool,
}

impl<'a> SseEvent<'a> {
    /// Reads the lines of a frame. What is not UTF-8 becomes U+FFFD here; the frame itself keeps its bytes.
    pub fn parse(frame: &'a [u8]) -> Self {
        let mut event = Self::default();
        let mut comments = false;
        let mut fields = false;
        let frame = frame.strip_prefix(BOM).unwrap_or(frame);
        for line in lines(frame) {
            if line.is_empty() {
                continue;
            }
            let (name, value) = match memchr::memchr(b':', line) {
                Some(0) => {
                    comments = true;
                    continue;
                }
                Some(colon) => {
                    let (name, value) = line.split_at(colon);
                    let value = value.strip_prefix(b":").unwrap_or(value);
                    (name, value.strip_prefix(b" ").unwrap_or(value))
                }
                None => (line, &b""[..]),
            };
            fields = true;
            event.set(name, value);
        }
        event.is_comment = comments && !fields;
        event
    }

    fn set(&mut self, name: &[u8], value: &'a [u8]) {
        match name {
            b"event" => self.event = Some(String::from_utf8_lossy(value)),
            b"data" => {
                let value = String::from_utf8_lossy(value);
                match &mut self.data {
                    Some(data) => {
                        let data = data.to_mut();
                        data.push('\n');
                        data.push_str(&value);
                    }
                    None => self.data = Some(value),
                }
            }
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value)),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.retry = std::str::from_utf8(value)
                    .ok()
                    .and_then(|digits| digits.parse().ok())
                    .or(self.retry);
            }
            _ => {}
        }
    }
}

/// Lines without their ends; CR, LF and CRLF end one.
fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = match after {
            [b'\r', b'\n', tail @ ..] | [_, tail @ ..] => tail,
            [] => after,
        };
        Some(line)
    })
}

/// May stand once at the beginning of a stream.
const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]], max_frame: usize) -> Vec<RawFrame> {
        let mut splitter = SseSplitter::new(max_frame);
        let mut frames: Vec<_> = pieces
            .iter()
            .flat_map(|piece| splitter.push(piece))
            .collect();
        frames.extend(splitter.finish());
        frames
    }

    fn check(input: &str, expected: &[&str], rest: Option<&str>) {
        for pieces in [
            vec![input.as_bytes()],
            input.as_bytes().chunks(1).collect::<Vec<_>>(),
        ] {
            let frames = split(&pieces, 1 << 20);
            let (complete, incomplete): (Vec<_>, Vec<_>) =
                frames.into_iter().partition(|frame| frame.is_complete);
            assert_eq!(
                complete
                    .iter()
                    .map(|frame| &frame.bytes[..])
                    .collect::<Vec<_>>(),
                expected
                    .iter()
                    .map(|text| text.as_bytes())
                    .collect::<Vec<_>>(),
                "{input:?}"
            );
            assert_eq!(
                incomplete.first().map(|frame| frame.bytes.to_vec()),
                rest.map(|text| text.as_bytes().to_vec()),
                "{input:?}"
            );
        }
    }

    #[test]
    fn a_frame_ends_with_its_blank_line() {
        check(
            "data: a\n\ndata: b\n\n",
            &["data: a\n\n", "data: b\n\n"],
            None,
        );
        check(
            "data: a\r\n\r\ndata: b\r\n\r\n",
            &["data: a\r\n\r\n", "data: b\r\n\r\n"],
            None,
        );
        check(
            "data: a\r\rdata: b\r\r",
            &["data: a\r\r", "data: b\r\r"],
            None,
        );
        check(
            "data: a\n\r\ndata: b\r\n\n",
            &["data: a\n\r\n", "data: b\r\n\n"],
            None,
        );
        check(": ping\n\n", &[": ping\n\n"], None);
        check("data: a\n\nda", &["data: a\n\n"], Some("da"));
        check("\n\ndata: a\n\n\n", &["\n\ndata: a\n\n"], Some("\n"));
        check("", &[], None);
    }

    #[test]
    fn a_crlf_over_two_pieces_is_one_line_end() {
        let frames = split(&[b"data: a\r", b"\n", b"\r", b"\n", b"data: b"], 1 << 20);
        let bytes: Vec<_> = frames.iter().map(|frame| &frame.bytes[..]).collect();
        assert_eq!(bytes, [&b"data: a\r\n\r\n"[..], b"data: b"]);
    }

    #[test]
    fn a_frame_beyond_the_bound_comes_in_pieces() {
        let mut splitter = SseSplitter::new(4);
        let frames = splitter.push(b"data: abc\n\nx");
        let bytes: Vec<_> = frames
            .iter()
            .map(|frame| (&frame.bytes[..], frame.is_complete))
            .collect();
        assert_eq!(
            bytes,
            [(&b"data"[..], false), (b": ab", false), (b"c\n\n", true)]
        );
        assert_eq!(splitter.held(), 1);
    }

    #[test]
    fn no_piece_ends_inside_a_character() {
        for max_frame in 1..8 {
            let frames = split(&["data: 你好🙂é\n\n".as_bytes()], max_frame);
            for frame in frames {
                assert!(
                    std::str::from_utf8(&frame.bytes).is_ok(),
                    "{max_frame}: {frame:?}"
                );
            }
        }
    }

    #[test]
    fn an_event_is_what_its_fields_say() {
        let event = SseEvent::parse(b"event: delta\nid: 7\nretry: 250\ndata: {\ndata:}\n\n");
        assert_eq!(event.event.as_deref(), Some("delta"));
        assert_eq!(event.data.as_deref(), Some("{\n}"));
        assert_eq!(event.id.as_deref(), Some("7"));
        assert_eq!(event.retry, Some(250));
        assert!(!event.is_comment);
        assert!(SseEvent::parse(b": ping\r\n\r\n").is_comment);
        assert!(!SseEvent::parse(b": ping\ndata\n\n").is_comment);
        assert_eq!(SseEvent::parse(b"data\n\n").data.as_deref(), Some(""));
        assert_eq!(
            SseEvent::parse(b"id: a\0b\nretry: 1s\nnone: 1\n\n"),
            SseEvent::default()
        );
        assert_eq!(
            SseEvent::parse(b"\xef\xbb\xbfdata: a\n\n").data.as_deref(),
            Some("a")
        );
        assert_eq!(
            SseEvent::parse(b"retry: 99999999999999999999999\n\n").retry,
            None
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_split_gives_the_same_frames(
            text in "(data: ?|:|id|a|é|🙂|\r|\n|\r\n|\n\n|\r\n\r\n){0,40}",
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
            max_frame in 1usize..64,
        ) {
            let bytes = text.as_bytes();
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<_> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let whole = split(&[bytes], max_frame);
            prop_assert_eq!(&split(&pieces, max_frame), &whole);
            let together: Vec<u8> = whole.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
            prop_assert_eq!(together, bytes);
            for frame in &whole {
                SseEvent::parse(&frame.bytes);
                prop_assert!(frame.bytes.len() <= max_frame + 3);
                prop_assert!(std::str::from_utf8(&frame.bytes).is_ok());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let frames = split(&[&bytes], 16);
            let together: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
            prop_assert_eq!(together, bytes.clone());
            SseEvent::parse(&bytes);
        }
    }
}
