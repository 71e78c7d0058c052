//! Reads the answer of a recording: its head, and what came after the head.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::cassette::format::place::{Place, Wrong};
use crate::cassette::format::read::{headers, json_bytes, micros, octets, side_file};
use crate::cassette::recording::{Direction, Item, ItemBody, ItemKind, Recording, SideFile};
use crate::message::{Ending, ResponseHead};

/// What the member `response` says.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) head_after: Duration,
    pub(super) items: Vec<Item>,
    pub(super) side: Option<SideFile>,
}

pub(super) fn answer(folder: &Path, place: &Place<'_>) -> Result<Answer, Wrong> {
    place.allow(&["status", "reason", "head_us", "headers", "items", "body"])?;
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
    Ok(Answer {
        head,
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

fn is_held(place: &Place<'_>) -> Result<bool, Wrong> {
    place.allow(&["held"])?;
    place.get("held").map_or(Ok(false), |place| place.flag())
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
        items.push(chunk.item(ItemBody::Side { offset, len }));
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

/// `[at_us, len]`
struct ChunkLine {
    at: Duration,
    len: u64,
    held: bool,
}

impl ChunkLine {
    fn item(&self, body: ItemBody) -> Item {
        Item {
            at: self.at,
            direction: Direction::Down,
            kind: ItemKind::Bytes,
            body,
            held: self.held,
        }
    }
}

fn chunks(place: &Place<'_>) -> Result<Vec<ChunkLine>, Wrong> {
    let mut chunks: Vec<ChunkLine> = Vec::new();
    for line in place.list("a list of [at_us, len]")? {
        let mut parts = line.list("[at_us, len]")?;
        let (Some(at), Some(len), held, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(line.wrong(format!("{} must be [at_us, len]", line.name())));
        };
        let chunk = ChunkLine {
            at: micros(&at)?,
            len: len.number(0, u64::MAX)?,
            held: held.map_or(Ok(false), |place| is_held(&place))?,
        };
        if chunks.last().is_some_and(|last| last.at > chunk.at) {
            return Err(line.wrong(format!("{} comes before the one above it", line.name())));
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// Cuts a body that a person may have edited: the last chunk takes what is left, and chunks without bytes fall away.
fn spread(bytes: &Bytes, chunks: &[ChunkLine]) -> Vec<Item> {
    const AT_ONCE: &[ChunkLine] = &[ChunkLine {
        at: Duration::ZERO,
        len: 0,
        held: false,
    }];
    let chunks = if chunks.is_empty() { AT_ONCE } else { chunks };
    let mut items = Vec::with_capacity(chunks.len());
    let mut rest = bytes.clone();
    for (index, chunk) in chunks.iter().enumerate() {
        let is_last = index + 1 == chunks.len();
        let len = match usize::try_from(chunk.len) {
            Ok(len) if !is_last => len.min(rest.len()),
            _ => rest.len(),
        };
        if len > 0 {
            items.push(chunk.item(ItemBody::Inline(rest.split_to(len))));
        }
    }
    items
}

/// Makes `content-length` say what the body has, where the answer's framing came to its end by it.
pub(crate) fn fit_length(recording: &mut Recording) {
    let has_no_body = recording.request.method == "HEAD"
        || recording.head.status < 200
        || matches!(recording.head.status, 204 | 304);
    if has_no_body || recording.ending != Ending::Complete {
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
