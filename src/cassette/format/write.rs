//! Writes the file of a recording: one order of members, one header or item a line, two blanks a level.

use serde_json::{Map, Value, json};

use crate::cassette::encoded::Encoded;
use crate::cassette::format::VERSION;
use crate::cassette::format::body::JsonBody;
use crate::cassette::format::encoding::encoded_value;
use crate::cassette::format::written::{header_lines, micros, octets, timestamp};
use crate::cassette::item::{Direction, Item, ItemBody, ItemKind};
use crate::cassette::recording::{Matching, Play, RecordedBody, Recording};
use crate::cassette::side::BODIES;
use crate::message::Headers;

/// The text of a recording's file.
pub(crate) fn render(recording: &Recording) -> String {
    let mut out = Writer::default();
    out.open("{");
    out.member("version", &json!(VERSION));
    out.key("recorded");
    facts(&mut out, recording);
    out.key("match");
    matching(&mut out, &recording.matching);
    out.key("play");
    play(&mut out, &recording.play);
    out.notes(&recording.notes);
    out.close("}");
    out.text.push('\n');
    out.text
}

fn facts(out: &mut Writer, recording: &Recording) {
    out.open("{");
    out.member("at", &json!(timestamp(recording.at)));
    out.member("upstream", &json!(recording.upstream));
    out.member("protocol", &json!(recording.protocol));
    out.key("request");
    out.open("{");
    out.member("method", &json!(recording.request.method));
    out.member("path", &json!(recording.request.path));
    if let Some(query) = &recording.request.query {
        out.member("query", &json!(query));
    }
    out.headers("headers", &recording.request.headers);
    out.body(&recording.request_body);
    out.close("}");
    out.key("response");
    answer(out, recording);
    if let Some(trailers) = &recording.trailers {
        out.headers("trailers", trailers);
    }
    out.member("ending", &json!(recording.ending.as_str()));
    out.member("redacted", &json!(recording.redacted));
    out.member("key", &json!(recording.key));
    out.close("}");
}

fn answer(out: &mut Writer, recording: &Recording) {
    out.open("{");
    out.member("status", &json!(recording.head.status));
    if let Some(reason) = &recording.head.reason {
        out.member("reason", &json!(reason));
    }
    out.member("head_us", &json!(micros(recording.head_after)));
    out.headers("headers", &recording.head.headers);
    if let Some(encoded) = &recording.encoded {
        out.encoding(encoded);
    }
    if let Some(side) = &recording.side {
        out.key("body");
        out.open("{");
        out.member("file", &json!(format!("{BODIES}/{}", side.name)));
        out.member("len", &json!(side.len));
        if let Some(encoding) = recording.head.headers.get_str("content-encoding") {
            out.member("encoding", &json!(encoding));
        }
        out.chunks(&recording.items);
        out.close("}");
    } else if let Some(body) = json_body(&recording.items) {
        out.key("body");
        out.open("{");
        out.json(&body);
        out.chunks(&recording.items);
        out.close("}");
    } else if !recording.items.is_empty() {
        out.list("items", recording.items.iter().map(item));
    }
    out.close("}");
}

/// The answer's body as a value, where all of it is one and it did not come as a long stream.
fn json_body(items: &[Item]) -> Option<JsonBody> {
    if items.len() > MAX_JSON_CHUNKS {
        return None;
    }
    let mut whole = Vec::new();
    for item in items {
        match item {
            Item {
                direction: Direction::Down,
                kind: ItemKind::Bytes,
                body: ItemBody::Inline(bytes),
                ..
            } => whole.extend_from_slice(bytes),
            _ => return None,
        }
    }
    JsonBody::of(&whole)
}

fn matching(out: &mut Writer, matching: &Matching) {
    out.open("{");
    if let Some(method) = &matching.method {
        out.member("method", &json!(method));
    }
    if let Some(path) = &matching.path {
        out.member("path", &json!(path));
    }
    if let Some(query) = &matching.query {
        out.member("query", &json!(query));
    }
    if let Some(headers) = &matching.headers {
        out.headers("headers", headers);
    }
    if let Some(body) = &matching.body {
        match body {
            RecordedBody::Inline(bytes) if bytes.is_empty() => out.member("body", &json!("")),
            _ => out.body(body),
        }
    }
    out.notes(&matching.notes);
    out.close("}");
}

fn play(out: &mut Writer, play: &Play) {
    out.open("{");
    if play.skip {
        out.member("skip", &json!(true));
    }
    if let Some(repeat) = play.repeat {
        out.member("repeat", &json!(repeat));
    }
    if let Some(speed) = play.speed {
        out.member("speed", &json!(speed));
    }
    out.notes(&play.notes);
    out.close("}");
}

/// An item, short where it is bytes of the answer.
fn item(item: &Item) -> String {
    let ItemBody::Inline(bytes) = &item.body else {
        return "null".to_owned();
    };
    if item.direction == Direction::Down && item.kind == ItemKind::Bytes {
        let held = if item.held { ", {\"held\": true}" } else { "" };
        return format!("[{}, {}{held}]", micros(item.at), line(&octets(bytes)));
    }
    let mut members = Map::new();
    members.insert("at_us".to_owned(), json!(micros(item.at)));
    let direction = match item.direction {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    members.insert("dir".to_owned(), json!(direction));
    match &item.kind {
        ItemKind::Bytes => {
            members.insert("kind".to_owned(), json!("bytes"));
            members.insert("data".to_owned(), octets(bytes));
        }
        ItemKind::Frame { sort } => {
            members.insert("kind".to_owned(), json!("frame"));
            members.insert("frame".to_owned(), json!(sort));
            members.insert("data".to_owned(), octets(bytes));
        }
        ItemKind::Trailers(headers) => {
            members.insert("kind".to_owned(), json!("trailers"));
            members.insert("headers".to_owned(), header_lines(headers));
        }
    }
    if item.held {
        members.insert("held".to_owned(), json!(true));
    }
    line(&Value::Object(members))
}

/// A value on one line, with a blank after each comma and colon.
fn line(value: &Value) -> String {
    String::from_utf8(crate::cassette::format::body::Style::Spaced.write(value))
        .expect("JSON is UTF-8")
}

/// Text that grows member by member.
#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
    /// Whether something stands before on this level.
    has_sibling: bool,
}

impl Writer {
    fn open(&mut self, bracket: &str) {
        self.text.push_str(bracket);
        self.depth += 1;
        self.has_sibling = false;
    }

    fn close(&mut self, bracket: &str) {
        self.depth -= 1;
        if self.has_sibling {
            self.new_line();
        }
        self.text.push_str(bracket);
        self.has_sibling = true;
    }

    fn new_line(&mut self) {
        self.text.push('\n');
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
    }

    /// Begins the next member or item.
    fn next(&mut self) {
        if self.has_sibling {
            self.text.push(',');
        }
        self.new_line();
        self.has_sibling = true;
    }

    fn key(&mut self, name: &str) {
        self.next();
        self.text.push_str(&line(&json!(name)));
        self.text.push_str(": ");
    }

    fn member(&mut self, name: &str, value: &Value) {
        self.key(name);
        self.text.push_str(&line(value));
    }

    fn list(&mut self, name: &str, lines: impl Iterator<Item = String>) {
        self.key(name);
        self.open("[");
        for line in lines {
            self.next();
            self.text.push_str(&line);
        }
        self.close("]");
    }

    fn headers(&mut self, name: &str, headers: &Headers) {
        let lines = headers
            .iter()
            .map(|(name, value)| line(&json!([name, octets(value)])));
        self.list(name, lines);
    }

    fn notes(&mut self, notes: &Map<String, Value>) {
        for (name, value) in notes {
            self.key(name);
            self.pretty(value);
        }
    }

    /// A value over several lines.
    fn pretty(&mut self, value: &Value) {
        let text = String::from_utf8(crate::cassette::format::body::Style::Indented.write(value))
            .expect("JSON is UTF-8");
        let indented = format!("\n{:1$}", "", self.depth * 2);
        self.text.push_str(&text.replace('\n', &indented));
    }

    fn json(&mut self, body: &JsonBody) {
        self.key("json");
        self.pretty(&body.value);
        self.member("style", &json!(body.style.as_str()));
        if !body.end.is_empty() {
            self.member("end", &json!(body.end));
        }
    }

    fn encoding(&mut self, encoded: &Encoded) {
        self.key("encoding");
        self.open("{");
        for (name, value) in &encoded_value(encoded) {
            match value {
                Value::Array(chunks) if chunks.len() > 1 => {
                    self.list(name, chunks.iter().map(line));
                }
                value => self.member(name, value),
            }
        }
        self.close("}");
    }

    /// A body without times.
    fn body(&mut self, body: &RecordedBody) {
        match body {
            RecordedBody::Inline(bytes) if bytes.is_empty() => {}
            RecordedBody::Inline(bytes) => {
                if let Some(body) = JsonBody::of(bytes) {
                    self.key("body");
                    self.open("{");
                    self.json(&body);
                    self.close("}");
                } else {
                    self.member("body", &octets(bytes));
                }
            }
            RecordedBody::Side(side) => {
                self.key("body");
                self.open("{");
                self.member("file", &json!(format!("{BODIES}/{}", side.name)));
                self.member("len", &json!(side.len));
                self.close("}");
            }
            RecordedBody::TooLarge => self.member("body", &json!({ "too_large": true })),
        }
    }

    /// Times and lengths of chunks whose bytes stand elsewhere.
    fn chunks(&mut self, items: &[Item]) {
        let chunk = |item: &Item| {
            let held = if item.held { ", {\"held\": true}" } else { "" };
            format!("[{}, {}{held}]", micros(item.at), item.body.len())
        };
        if let [only] = items {
            self.key("chunks");
            for part in ["[", &chunk(only), "]"] {
                self.text.push_str(part);
            }
        } else {
            self.list("chunks", items.iter().map(chunk));
        }
    }
}

/// Beyond so many chunks a JSON body is a stream, and more is told by its pieces.
const MAX_JSON_CHUNKS: usize = 64;
