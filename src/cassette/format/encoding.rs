//! The member `encoding` of an answer: how its body goes over the wire that is shown decoded. The journal tells it in the same
//! words.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::cassette::encoded::{Encoded, Flaw, WireChunk};
use crate::cassette::format::place::{Place, Wrong};
use crate::cassette::format::values::{is_held, is_plain, micros, octets as bytes};
use crate::cassette::format::written::{micros as in_micros, octets};
use crate::cassette::side::{BODIES, SideFile};
use crate::encoding::{Flush, Frame, Maker, Method, Recipe};

/// It as members.
pub(crate) fn encoded_value(encoded: &Encoded) -> Map<String, Value> {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    add("name", json!(encoded.name));
    match &encoded.flaw {
        Some(Flaw::Undecoded(why)) => add("undecoded", json!(why)),
        Some(Flaw::Broken(why)) => add("broken", json!(why)),
        None => {}
    }
    if let Some(recipe) = &encoded.again {
        add("again", recipe_value(recipe));
    }
    if let Some(side) = &encoded.wire {
        let file = format!("{BODIES}/{}", side.name);
        add("wire", json!({ "file": file, "len": side.len }));
    }
    if let Some(of) = &encoded.of {
        add("of", json!(of));
    }
    if let Some(gives) = &encoded.gives {
        add("gives", json!(gives));
    }
    if let Some(at) = encoded.tail_at {
        add("tail_us", json!(in_micros(at)));
    }
    if !encoded.chunks.is_empty() {
        add("chunks", encoded.chunks.iter().map(chunk_value).collect());
    }
    members
}

fn chunk_value(chunk: &WireChunk) -> Value {
    let mut value = vec![json!(in_micros(chunk.at)), json!(chunk.len)];
    if chunk.held {
        value.push(json!({ "held": true }));
    }
    Value::Array(value)
}

fn recipe_value(recipe: &Recipe) -> Value {
    let mut value = match &recipe.method {
        Method::Deflate {
            frame,
            maker,
            level,
        } => deflate_value(frame, *maker, *level),
        Method::Brotli { quality, window } => {
            json!({ "method": "br", "quality": quality, "window": window })
        }
        Method::Zstd {
            level,
            has_size,
            has_checksum,
        } => json!({
            "method": "zstd", "level": level, "size": has_size, "checksum": has_checksum
        }),
    };
    let flush = match recipe.flush {
        Flush::None => None,
        Flush::Sync => Some("sync"),
        Flush::Full => Some("full"),
    };
    if let (Some(flush), Some(members)) = (flush, value.as_object_mut()) {
        members.insert("flush".to_owned(), json!(flush));
    }
    value
}

fn deflate_value(frame: &Frame, maker: Maker, level: u8) -> Value {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    let (method, head) = match frame {
        Frame::Gzip(head) => ("gzip", Some(octets(head))),
        Frame::Zlib(head) => ("zlib", Some(octets(head))),
        Frame::Raw => ("deflate", None),
    };
    add("method", json!(method));
    match maker {
        Maker::Zlib { window, memory } => {
            add("by", json!("zlib"));
            add("level", json!(level));
            add("window", json!(window));
            add("memory", json!(memory));
        }
        Maker::ZlibNg => {
            add("by", json!("zlib-ng"));
            add("level", json!(level));
        }
    }
    if let Some(head) = head {
        add("head", head);
    }
    Value::Object(members)
}

/// Reads it from a line of the journal. `None` where it is something else.
pub(crate) fn encoded_of(value: &Value) -> Option<Encoded> {
    let unchecked = |place: &Place<'_>| {
        let file = place.need("file")?;
        let name = file.text()?.strip_prefix("bodies/").unwrap_or_default();
        if !is_plain(name) {
            return Err(file.expected("the name of a file in bodies/"));
        }
        Ok(SideFile {
            folder: PathBuf::new(),
            name: name.to_owned(),
            len: place.need("len")?.number(0, u64::MAX)?,
        })
    };
    encoded(&Place::root(value), unchecked).ok()
}

/// Reads it; `side_file` looks up a file.
pub(super) fn encoded(
    place: &Place<'_>,
    side_file: impl Fn(&Place<'_>) -> Result<SideFile, Wrong>,
) -> Result<Encoded, Wrong> {
    place.allow(&[
        "name",
        "undecoded",
        "broken",
        "again",
        "wire",
        "of",
        "gives",
        "tail_us",
        "chunks",
    ])?;
    let text = |name: &'static str| match place.get(name) {
        Some(place) => place.text().map(|text| Some(text.to_owned())),
        None => Ok(None),
    };
    let flaw = match (text("undecoded")?, text("broken")?) {
        (Some(why), _) => Some(Flaw::Undecoded(why)),
        (None, Some(why)) => Some(Flaw::Broken(why)),
        (None, None) => None,
    };
    let again = match place.get("again") {
        Some(place) => Some(recipe(&place)?),
        None => None,
    };
    let wire = match place.get("wire") {
        Some(place) => {
            place.allow(&["file", "len"])?;
            Some(side_file(&place)?)
        }
        None => None,
    };
    let list = place.get("chunks");
    let chunks = list.as_ref().map_or_else(|| Ok(Vec::new()), chunks)?;
    if let Some(wire) = &wire {
        let sum = chunks
            .iter()
            .fold(0_u64, |sum, chunk| sum.saturating_add(chunk.len));
        if sum != wire.len {
            let place = list.as_ref().unwrap_or(place);
            return Err(place.wrong(format!(
                "\"chunks\" add up to {sum} bytes, but \"len\" says {}",
                wire.len
            )));
        }
    }
    Ok(Encoded {
        name: place.need("name")?.text()?.to_owned(),
        again,
        flaw,
        wire,
        chunks,
        tail_at: match place.get("tail_us") {
            Some(place) => Some(micros(&place)?),
            None => None,
        },
        of: text("of")?,
        gives: text("gives")?,
    })
}

/// `[[at_us, len]…]`
pub(super) fn chunks(place: &Place<'_>) -> Result<Vec<WireChunk>, Wrong> {
    let mut chunks: Vec<WireChunk> = Vec::new();
    for line in place.list("a list of [at_us, len]")? {
        let mut parts = line.list("[at_us, len]")?;
        let (Some(at), Some(len), held, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(line.wrong(format!("{} must be [at_us, len]", line.name())));
        };
        let chunk = WireChunk {
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

fn recipe(place: &Place<'_>) -> Result<Recipe, Wrong> {
    let word = place.need("method")?;
    let small = |name: &'static str, least, most| {
        let number = place.need(name)?.number(least, most)?;
        Ok(u8::try_from(number).unwrap_or(u8::MAX))
    };
    let method = match word.text()? {
        "br" => {
            place.allow(&["method", "quality", "window", "flush"])?;
            Method::Brotli {
                quality: small("quality", 0, 11)?,
                window: small("window", 10, 24)?,
            }
        }
        "zstd" => {
            place.allow(&["method", "level", "size", "checksum", "flush"])?;
            Method::Zstd {
                level: small("level", 1, 19)?,
                has_size: place.need("size")?.flag()?,
                has_checksum: place.need("checksum")?.flag()?,
            }
        }
        "gzip" | "zlib" | "deflate" => {
            place.allow(&["method", "by", "level", "window", "memory", "head", "flush"])?;
            let by = place.need("by")?;
            Method::Deflate {
                level: small("level", 1, 9)?,
                maker: match by.text()? {
                    "zlib" => Maker::Zlib {
                        window: small("window", 9, 15)?,
                        memory: small("memory", 1, 9)?,
                    },
                    "zlib-ng" => Maker::ZlibNg,
                    _ => return Err(by.expected("zlib or zlib-ng")),
                },
                frame: frame(word.text()?, place)?,
            }
        }
        _ => return Err(word.expected("gzip, zlib, deflate, br or zstd")),
    };
    if !method.is_possible() {
        return Err(place
            .need("head")?
            .wrong("\"head\" must be the header of a gzip member"));
    }
    let flush = match place.get("flush") {
        None => Flush::None,
        Some(place) => match place.text()? {
            "sync" => Flush::Sync,
            "full" => Flush::Full,
            _ => return Err(place.expected("sync or full")),
        },
    };
    Ok(Recipe { method, flush })
}

fn frame(method: &str, place: &Place<'_>) -> Result<Frame, Wrong> {
    let head = || -> Result<Bytes, Wrong> { bytes(&place.need("head")?) };
    match method {
        "gzip" => Ok(Frame::Gzip(head()?)),
        "zlib" => match <[u8; 2]>::try_from(head()?.as_ref()) {
            Ok(head) => Ok(Frame::Zlib(head)),
            Err(_) => Err(place.need("head")?.wrong("\"head\" must have two bytes")),
        },
        _ => Ok(Frame::Raw),
    }
}
