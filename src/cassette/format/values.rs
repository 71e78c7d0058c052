//! The values of which a file is made, read: each in its one way, anything else is an error with its place.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cassette::format::body::{JsonBody, Style};
use crate::cassette::format::place::{Place, Wrong};
use crate::cassette::side::{BODIES, SideFile, open_side};
use crate::message::Headers;
use crate::route::is_token;

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
        .map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::NotFound => {
                    "; it belongs to this recording, so copy it too, or record again"
                }
                _ => "",
            };
            file.wrong(format!("cannot open {}: {error}{advice}", file.value))
        })?
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

/// `{"held": true}`
pub(super) fn is_held(place: &Place<'_>) -> Result<bool, Wrong> {
    place.allow(&["held"])?;
    place.get("held").map_or(Ok(false), |place| place.flag())
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
