//! Reads the answer of a recording: its head, and what came after the head.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::cassette::encoded::{Encoded, spread};
use crate::cassette::format::encoding::{chunks, encoded};
use crate::cassette::format::place::{Place, Wrong};
use crate::cassette::format::values::{headers, is_held, json_bytes, micros, octets, side_file};
use crate::cassette::item::{Direction, Item, ItemBody, ItemKind};
use crate::cassette::recording::Recording;
use crate::cassette::side::SideFile;
use crate::message::{Ending, ResponseHead};

/// What the member `response` says.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) head_after: Duration,
    pub(super) items: Vec<Item>,
    pub(super) side: Option<SideFile>,
    pub(super) encoded: Option<Encoded>,
}

pub(super) fn answer(folder: &Path, place: &Place<'_>) -> Result<Answer, Wrong> {
    place.allow(&[
        "status", "reason", "head_us", "headers", "encoding", "items", "body",
    ])?;
    let status = place.need("status")?.number(100, 999)?;
    let reason = match place.get("reason") {
        Some(place) => {
            let text = place.text()?;
            if text
                .chars()
                .any(|char| char.is_ascii_control() && char != '\t')
            {
                return Err(place.expected("a text without control characters"));
            }
            Some(text.to_owned())
        }
        None => None,
    };
    let head = ResponseHead {
        status: u16::try_from(status).unwrap_or_default(),
        reason,
        headers: headers(&place.need("headers")?)?,
    };
    let (items, side) = match (place.get("items"), place.get("body")) {
        (Some(_), Some(body)) => {
            return Err(body.wrong("\"response\" has both \"items\" and \"body\", expected one"));
        }
        (Some(list), None) => (items(&list)?, None),
        (None, Some(body)) => whole(folder, &body)?,
        (None, None) => (Vec::new(), None),
    };
    let encoded = match place.get("encoding") {
        Some(place) => Some(encoded(&place, |place| side_file(folder, place))?),
        None => None,
    };
    Ok(Answer {
        head,
        encoded,
        head_after: micros(&place.need("head_us")?)?,
        items,
        side,
    })
}

fn items(place: &Place<'_>) -> Result<Vec<Item>, Wrong> {
    let mut items: Vec<Item> = Vec::new();
    for place in place.list("a list of items")? {
        let item = if place.value.is_object() {
            long_item(&place)?
        } else {
            short_item(&place)?
        };
        if items.last().is_some_and(|last| last.at > item.at) {
            return Err(place.wrong(format!("{} comes before the one above it", place.name())));
        }
        let is_empty = item.body.is_empty() && item.kind == ItemKind::Bytes;
        if !is_empty {
            items.push(item);
        }
    }
    Ok(items)
}

/// `[at_us, text]`, `[at_us, {"b64": …}]`, `[at_us, …, {"held": true}]`
fn short_item(place: &Place<'_>) -> Result<Item, Wrong> {
    let mut parts = place.list("[at_us, text] or an object")?;
    let (Some(at), Some(bytes), held, None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(place.wrong(format!("{} must be [at_us, text]", place.name())));
    };
    Ok(Item {
        at: micros(&at)?,
        direction: Direction::Down,
        kind: ItemKind::Bytes,
        body: ItemBody::Inline(octets(&bytes)?),
        held: held.map_or(Ok(false), |place| is_held(&place))?,
    })
}

/// `{"at_us": …, "dir": "up|down", "kind": "bytes|frame|trailers", …}`
fn long_item(place: &Place<'_>) -> Result<Item, Wrong> {
    let direction = match place.get("dir") {
        None => Direction::Down,
        Some(place) => match place.text()? {
            "up" => Direction::Up,
            "down" => Direction::Down,
            _ => return Err(place.expected("up or down")),
        },
    };
    let sort = place.need("kind")?;
    let kind = match sort.text()? {
        "bytes" => {
            place.allow(&["at_us", "dir", "kind", "data", "held"])?;
            ItemKind::Bytes
        }
        "frame" => {
            place.allow(&["at_us", "dir", "kind", "frame", "data", "held"])?;
            ItemKind::Frame {
                sort: place.need("frame")?.text()?.to_owned(),
            }
        }
        "trailers" => {
            place.allow(&["at_us", "dir", "kind", "headers", "held"])?;
            ItemKind::Trailers(headers(&place.need("headers")?)?)
        }
        _ => return Err(sort.expected("bytes, frame or trailers")),
    };
    let bytes = match &kind {
        ItemKind::Bytes | ItemKind::Frame { .. } => octets(&place.need("data")?)?,
        ItemKind::Trailers(_) => Bytes::new(),
    };
    Ok(Item {
        at: micros(&place.need("at_us")?)?,
        direction,
        kind,
        body: ItemBody::Inline(bytes),
        held: place.get("held").map_or(Ok(false), |place| place.flag())?,
    })
}

/// A body that stands apart from its times: as a value, or in a side file.
fn whole(folder: &Path, place: &Place<'_>) -> Result<(Vec<Item>, Option<SideFile>), Wrong> {
    if place.get("json").is_some() {
        place.allow(&["json", "style", "end", "chunks"])?;
        let bytes = json_bytes(place)?;
        let chunks = match place.get("chunks") {
            Some(place) => chunks(&place)?,
            None => Vec::new(),
        };
        return Ok((spread(&bytes, &chunks), None));
    }
    place.allow(&["file", "len", "encoding", "chunks"])?;
    let side = side_file(folder, place)?;
    if let Some(encoding) = place.get("encoding") {
        encoding.text()?;
    }
    let list = place.need("chunks")?;
    let chunks = chunks(&list)?;
    let mut offset = 0_u64;
    let mut items = Vec::with_capacity(chunks.len());
    for chunk in chunks.iter().filter(|chunk| chunk.len > 0) {
        let len = usize::try_from(chunk.len).unwrap_or(usize::MAX);
        items.push(Item {
            at: chunk.at,
            direction: Direction::Down,
            kind: ItemKind::Bytes,
            body: ItemBody::Side { offset, len },
            held: chunk.held,
        });
        offset = offset.saturating_add(chunk.len);
    }
    if offset != side.len {
        return Err(list.wrong(format!(
            "\"chunks\" add up to {offset} bytes, but \"len\" says {}",
            side.len
        )));
    }
    Ok((items, Some(side)))
}

/// Makes `content-length` say what the body has, where the answer's framing came to its end by it. That of a body that is
/// encoded before it's played is not known here.
pub(crate) fn fit_length(recording: &mut Recording) {
    if !has_body(recording) || recording.decoded_from().is_some() {
        return;
    }
    let length = recording.body_bytes().to_string();
    let headers = &mut recording.head.headers;
    if headers
        .get("content-length")
        .is_some_and(|have| have != length.as_bytes())
    {
        headers.set("content-length", length);
    }
}

/// Whether all of the body that the head speaks of came.
pub(crate) fn has_body(recording: &Recording) -> bool {
    let has_none = recording.request.method == "HEAD"
        || recording.head.status < 200
        || matches!(recording.head.status, 204 | 304);
    !has_none && recording.ending == Ending::Complete
}
