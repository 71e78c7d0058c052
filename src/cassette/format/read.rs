//! Reads the file of a recording, which a person may have edited, or somebody hostile.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cassette::format::answer::{answer, fit_length};
use crate::cassette::format::body::{JsonBody, Style};
use crate::cassette::format::locate::line_of;
use crate::cassette::format::place::{Place, Wrong};
use crate::cassette::format::{BrokenFile, VERSION};
use crate::cassette::recording::{
    BODIES, Matching, Play, RecordedBody, Recording, SideFile, open_side,
};
use crate::json;
use crate::message::{Ending, Headers, RequestHead};

/// Reads the text of a recording's file. Side files are looked up in the cassette's `folder`.
pub(crate) fn parse(folder: &Path, name: &str, bytes: &[u8]) -> Result<Recording, BrokenFile> {
    let broken = |line, message| BrokenFile {
        name: name.to_owned(),
        line: Some(line),
        message,
    };
    let value = json::parse(bytes).map_err(|error| broken(error.line, error.message))?;
    recording(folder, name, &Place::root(&value)).map_err(|wrong| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        broken(line_of(text, &wrong.path), wrong.message)
    })
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

/// `[[name, value]…]`
pub(super) fn headers(place: &Place<'_>) -> Result<Headers, Wrong> {
    const SHAPE: &str = "a list of [name, value]";
    let mut headers = Headers::new();
    for line in place.list(SHAPE)? {
        let mut parts = line.list("[name, value]")?;
        let (Some(name), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(line.wrong(format!("{} must be [name, value]", line.name())));
        };
        let text = name.text()?;
        if !is_token(text) {
            return Err(name.expected("a header name"));
        }
        let value_bytes = octets(&value)?;
        if !is_header(text, &value_bytes) {
            return Err(value.wrong(format!(
                "{} must have no line break in its value",
                line.name()
            )));
        }
        headers.push(text, value_bytes);
    }
    Ok(headers)
}

/// `[[name, value]…]`, `None` where it is something else.
pub(crate) fn header_list(value: &Value) -> Option<Headers> {
    headers(&Place::root(value)).ok()
}

/// A text, or `{"b64": …}`.
pub(super) fn octets(place: &Place<'_>) -> Result<Bytes, Wrong> {
    match place.value {
        Value::String(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Value::Object(_) => {
            place.allow(&["b64"])?;
            let text = place.need("b64")?;
            STANDARD
                .decode(text.text()?)
                .map(Bytes::from)
                .map_err(|_| text.wrong(format!("{} must be in base64", text.name())))
        }
        _ => Err(place.expected("a text or {\"b64\": …}")),
    }
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

/// The bytes of a body that is kept as a value.
pub(super) fn json_bytes(place: &Place<'_>) -> Result<Bytes, Wrong> {
    let style = match place.get("style") {
        None => Style::Compact,
        Some(place) => {
            let word = place.text()?;
            let style = Style::ALL.into_iter().find(|style| style.as_str() == word);
            style.ok_or_else(|| {
                let words: Vec<_> = Style::ALL.iter().map(|style| style.as_str()).collect();
                place.expected(&format!("one of {}", words.join(", ")))
            })?
        }
    };
    let end = place.get("end");
    let body = JsonBody {
        value: place.need("json")?.value.clone(),
        style,
        end: end.as_ref().map_or(Ok(""), Place::text)?.to_owned(),
    };
    Ok(body.bytes().into())
}

/// `"file"` and `"len"`, looked up: nothing outside the cassette, nothing by way of a link, and as long as it claims.
pub(super) fn side_file(folder: &Path, place: &Place<'_>) -> Result<SideFile, Wrong> {
    let file = place.need("file")?;
    let name = file
        .text()?
        .strip_prefix(BODIES)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|name| is_plain(name))
        .ok_or_else(|| file.expected("the name of a file in bodies/"))?;
    let len = place.need("len")?;
    let claimed = len.number(0, u64::MAX)?;
    let found = open_side(folder, name)
        .and_then(|file| file.metadata())
        .map_err(|error| file.wrong(format!("cannot open {}: {error}", file.value)))?
        .len();
    if found != claimed {
        return Err(len.wrong(format!(
            "\"len\" says {claimed}, but {} has {found} bytes",
            file.value
        )));
    }
    Ok(SideFile {
        folder: folder.to_owned(),
        name: name.to_owned(),
        len: claimed,
    })
}

/// Whether a name is a file's in any folder, and not hidden.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 255
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether a header line can be read again, and cannot become two.
pub(crate) fn is_header(name: &str, value: &[u8]) -> bool {
    is_token(name) && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A time in RFC 3339. `None` where it is something else.
pub(crate) fn time_of(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Into::into)
}

/// A number of microseconds; a year at most, so that no clock overflows by adding it.
pub(super) fn micros(place: &Place<'_>) -> Result<Duration, Wrong> {
    place.number(0, MAX_MICROS).map(Duration::from_micros)
}

/// 365 days.
const MAX_MICROS: u64 = 365 * 86_400 * 1_000_000;

/// So slow that nobody waits for it.
const MIN_SPEED: f64 = 1e-6;
/// So fast that all is at once.
const MAX_SPEED: f64 = 1e6;
