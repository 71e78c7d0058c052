//! Reads the file of a recording, which a person may have edited, or somebody hostile.

use std::path::Path;

use serde_json::{Map, Value};

use crate::cassette::format::answer::{answer, fit_length};
use crate::cassette::format::locate::line_of;
use crate::cassette::format::place::{Place, Wrong};
use crate::cassette::format::values::{headers, json_bytes, octets, side_file, time_of};
use crate::cassette::format::{BrokenFile, VERSION};
use crate::cassette::recording::{Matching, Play, RecordedBody, Recording};
use crate::json;
use crate::message::{Ending, RequestHead};
use crate::route::is_token;
use crate::text::{self, NotUtf8};

/// Reads the text of a recording's file. Side files are looked up in the cassette's `folder`.
pub(crate) fn parse(folder: &Path, name: &str, bytes: &[u8]) -> Result<Recording, BrokenFile> {
    let broken = |line, message| BrokenFile {
        name: name.to_owned(),
        line: Some(line),
        message,
    };
    let bytes = text::without_mark(bytes);
    let text = text::utf8(bytes).map_err(|why| {
        let line = match why {
            NotUtf8::Utf16 => 1,
            NotUtf8::Byte { line, .. } => line,
        };
        broken(line, why.to_string())
    })?;
    let value = json::parse(bytes).map_err(|error| {
        let message = match error.message {
            eof if eof.starts_with("EOF while parsing") => {
                format!("{eof}: the file is cut off; restore it, or delete it and record again")
            }
            syntax if syntax.starts_with("expected ") => format!("not JSON: {syntax}"),
            other => other,
        };
        broken(error.line, message)
    })?;
    recording(folder, name, &Place::root(&value))
        .map_err(|wrong| broken(line_of(text, &wrong.path), wrong.message))
}

fn recording(folder: &Path, name: &str, root: &Place<'_>) -> Result<Recording, Wrong> {
    let version = root.need("version")?;
    match version.value.as_u64() {
        Some(VERSION) => {}
        Some(newer @ VERSION..) => {
            return Err(version.wrong(format!(
                "version {newer} is newer than this program, which reads up to version {VERSION}"
            )));
        }
        _ => return Err(version.expected("1")),
    }
    root.allow(&["version", "recorded", "match", "play"])?;
    let facts = root.need("recorded")?;
    facts.allow(&[
        "at", "upstream", "protocol", "request", "response", "trailers", "ending", "redacted",
        "key",
    ])?;
    let at = facts.need("at")?;
    let asked = facts.need("request")?;
    let (request, request_body) = request(folder, &asked)?;
    let response = facts.need("response")?;
    let answer = answer(folder, &response)?;
    let redacted = match facts.get("redacted") {
        Some(place) => place
            .list("a list of rule names")?
            .map(|rule| rule.text().map(str::to_owned))
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let key = facts.get("key");
    let mut recording = Recording {
        name: name.to_owned(),
        at: time_of(at.text()?)
            .ok_or_else(|| at.expected("a time such as 2026-01-31T12:00:00Z"))?,
        upstream: facts.need("upstream")?.text()?.to_owned(),
        protocol: facts.need("protocol")?.text()?.to_owned(),
        request,
        request_body,
        head: answer.head,
        head_after: answer.head_after,
        items: answer.items,
        side: answer.side,
        encoded: answer.encoded,
        playback: None,
        trailers: facts.get("trailers").as_ref().map(headers).transpose()?,
        ending: ending(&facts.need("ending")?)?,
        redacted,
        key: key.as_ref().map_or(Ok(""), Place::text)?.to_owned(),
        matching: root
            .get("match")
            .map_or_else(|| Ok(Matching::default()), |place| matching(folder, &place))?,
        play: root
            .get("play")
            .map_or_else(|| Ok(Play::default()), |place| play(&place))?,
        notes: notes(root.value),
    };
    fit_length(&mut recording);
    Ok(recording)
}

fn ending(place: &Place<'_>) -> Result<Ending, Wrong> {
    let word = place.text()?;
    Ending::ALL
        .into_iter()
        .find(|ending| ending.as_str() == word)
        .ok_or_else(|| {
            let words: Vec<_> = Ending::ALL.iter().map(|ending| ending.as_str()).collect();
            place.expected(&format!("one of {}", words.join(", ")))
        })
}

fn request(folder: &Path, place: &Place<'_>) -> Result<(RequestHead, RecordedBody), Wrong> {
    place.allow(&["method", "path", "query", "headers", "body"])?;
    let head = RequestHead {
        method: method(&place.need("method")?)?,
        path: target(&place.need("path")?)?,
        query: place.get("query").as_ref().map(target).transpose()?,
        headers: headers(&place.need("headers")?)?,
    };
    let body = place.get("body").map(|place| body(folder, &place));
    Ok((head, body.unwrap_or_else(|| Ok(RecordedBody::empty()))?))
}

fn matching(folder: &Path, place: &Place<'_>) -> Result<Matching, Wrong> {
    place.allow(&["method", "path", "query", "headers", "body"])?;
    let query = match place.get("query") {
        None => None,
        Some(place) if place.value.is_null() => Some(None),
        Some(place) => Some(Some(target(&place)?)),
    };
    Ok(Matching {
        method: place.get("method").as_ref().map(method).transpose()?,
        path: place.get("path").as_ref().map(target).transpose()?,
        query,
        headers: place.get("headers").as_ref().map(headers).transpose()?,
        body: place
            .get("body")
            .map(|place| body(folder, &place))
            .transpose()?,
        notes: notes(place.value),
    })
}

/// How often one recording may stand in a sequence.
const MAX_REPEAT: u64 = 1000;

fn play(place: &Place<'_>) -> Result<Play, Wrong> {
    place.allow(&["skip", "repeat", "speed"])?;
    let skip = place.get("skip").map_or(Ok(false), |place| place.flag())?;
    let repeat = match place.get("repeat") {
        Some(place) => u32::try_from(place.number(1, MAX_REPEAT)?).ok(),
        None => None,
    };
    let speed = match place.get("speed") {
        Some(place) => Some(
            place
                .value
                .as_f64()
                .filter(|speed| (MIN_SPEED..=MAX_SPEED).contains(speed))
                .ok_or_else(|| place.expected("a number from 0.000001 to 1000000"))?,
        ),
        None => None,
    };
    Ok(Play {
        skip,
        repeat,
        speed,
        notes: notes(place.value),
    })
}

/// Members that are no business of ours.
fn notes(value: &Value) -> Map<String, Value> {
    let members = value.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| name.starts_with("x-"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn method(place: &Place<'_>) -> Result<String, Wrong> {
    let text = place.text()?;
    if is_token(text) {
        Ok(text.to_owned())
    } else {
        Err(place.expected("an HTTP method"))
    }
}

/// A path or a query: what may stand between blanks in a request line.
fn target(place: &Place<'_>) -> Result<String, Wrong> {
    let text = place.text()?;
    if text
        .chars()
        .any(|char| char.is_ascii_control() || char == ' ')
    {
        return Err(place.expected("a text without blanks and control characters"));
    }
    Ok(text.to_owned())
}

/// A body without times.
fn body(folder: &Path, place: &Place<'_>) -> Result<RecordedBody, Wrong> {
    if place.get("json").is_some() {
        place.allow(&["json", "style", "end"])?;
        return Ok(RecordedBody::Inline(json_bytes(place)?));
    }
    if place.get("file").is_some() {
        place.allow(&["file", "len"])?;
        return Ok(RecordedBody::Side(side_file(folder, place)?));
    }
    if let Some(flag) = place.get("too_large") {
        place.allow(&["too_large"])?;
        return if flag.flag()? {
            Ok(RecordedBody::TooLarge)
        } else {
            Err(flag.expected("true"))
        };
    }
    octets(place).map(RecordedBody::Inline)
}

/// So slow that nobody waits for it.
const MIN_SPEED: f64 = 1e-6;
/// So fast that all is at once.
const MAX_SPEED: f64 = 1e6;
