//! What identifies a request: the same question gives the same key, however it was written.
//!
//! Made from a request that was already redacted, by the same function on recording and on replay. It knows nothing of
//! cassettes; those only compare keys.

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        reason = "it reads hostile bytes"
    )
)]

mod encode;
pub(crate) mod multipart;
mod normal;
pub(crate) mod payload;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::json;
use crate::message::RequestHead;
use crate::units::ByteSize;

/// What belongs to the key of a request, besides its method, path, query and body.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// Whether the host that the client asked for counts.
    pub host: bool,
    /// Headers whose values count.
    pub headers: Vec<String>,
    /// JSON paths (RFC 9535) of what does not count in JSON bodies, such as `$.user` or `$.messages[*].id`.
    pub ignore: Vec<String>,
    /// Names of query parameters that do not count.
    pub ignore_query: Vec<String>,
    /// The largest body that is read for the key.
    pub body_limit: ByteSize,
    /// What to do with a request whose body is larger than that.
    pub over_limit: OverLimit,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            host: false,
            headers: Vec::new(),
            ignore: Vec::new(),
            ignore_query: Vec::new(),
            body_limit: ByteSize::mib(8),
            over_limit: OverLimit::default(),
        }
    }
}

/// What to do with a request whose body is too large for the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimit {
    /// Answer 413.
    #[default]
    Refuse,
    /// Make the key without the body.
    HeadOnly,
}

/// Why settings cannot become rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A path of `ignore` is not RFC 9535.
    #[error("`{path}` is not a JSON path: {reason} at position {position}")]
    Path {
        /// As it stands in the settings.
        path: String,
        /// What the parser missed.
        reason: String,
        /// In bytes, from 1.
        position: usize,
    },
    /// A header that can never be sent.
    #[error("`{0}` is not a header name")]
    Header(String),
}

/// Compiled [`KeySettings`].
#[derive(Clone, Debug)]
pub struct KeyRules {
    host: bool,
    /// In lower case, sorted, each once.
    headers: Vec<String>,
    ignore: Vec<JsonPath>,
    /// Sorted.
    ignore_query: Vec<String>,
    body_limit: usize,
    over_limit: OverLimit,
}

/// A body as it is given to the key.
#[derive(Clone, Copy, Debug)]
pub enum KeyBody<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It was larger than the limit.
    TooLarge,
}

impl KeyRules {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first path that is no JSON path, or the first name that no header can have.
    pub fn compile(settings: &KeySettings) -> Result<Self, KeyError> {
        let ignore = settings
            .ignore
            .iter()
            .map(|path| {
                JsonPath::parse(path).map_err(|error| KeyError::Path {
                    path: path.clone(),
                    reason: error.message().to_owned(),
                    position: error.position(),
                })
            })
            .collect::<Result<_, _>>()?;
        let mut headers = settings
            .headers
            .iter()
            .map(|name| match http::HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Ok(name.as_str().to_owned()),
                Err(_) => Err(KeyError::Header(name.clone())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        headers.sort_unstable();
        headers.dedup();
        let mut ignore_query = settings.ignore_query.clone();
        ignore_query.sort_unstable();
        Ok(Self {
            host: settings.host,
            headers,
            ignore,
            ignore_query,
            body_limit: settings.body_limit.as_usize(),
            over_limit: settings.over_limit,
        })
    }

    /// The largest body that is read for the key.
    pub fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// What to do with a request whose body is larger than that.
    pub fn over_limit(&self) -> OverLimit {
        self.over_limit
    }

    /// The one form of all requests that are the same by these rules. Give it only what was redacted.
    pub fn canonical(&self, head: &RequestHead, body: KeyBody<'_>) -> Canonical {
        let mut query = head.query.as_deref().map(normal::pairs).unwrap_or_default();
        query.retain(|(name, _)| self.ignore_query.binary_search(name).is_err());
        Canonical {
            method: head.method.clone(),
            host: self
                .host
                .then(|| head.headers.get("host").map(normal::host))
                .flatten(),
            path: normal::path(&head.path),
            query,
            headers: self
                .headers
                .iter()
                .map(|name| (name.clone(), normal::header(head, name)))
                .collect(),
            body: match body {
                KeyBody::Whole(bytes) if bytes.len() <= self.body_limit => self.body(head, bytes),
                KeyBody::Whole(_) | KeyBody::TooLarge => CanonicalBody::Unread,
            },
        }
    }

    fn body(&self, head: &RequestHead, bytes: &[u8]) -> CanonicalBody {
        if bytes.is_empty() {
            return CanonicalBody::Empty;
        }
        let said = payload::payload(head, bytes, self.body_limit);
        if said.is_empty() {
            return CanonicalBody::Empty;
        }
        let media_type = head.media_type().unwrap_or_default();
        let claims_json = media_type == "application/json" || media_type.ends_with("+json");
        // curl sends JSON as a form unless told otherwise, and many clients send it as text or as nothing at all.
        if (claims_json || looks_like_json(&said))
            && let Ok(value) = json::parse(&said)
        {
            return CanonicalBody::Json(self.without_ignored(value));
        }
        if media_type == "application/x-www-form-urlencoded"
            && let Ok(text) = std::str::from_utf8(&said)
        {
            return CanonicalBody::Form(normal::pairs(text));
        }
        if media_type.starts_with("multipart/")
            && let Some(content_type) = head.headers.get_str("content-type")
            && let Some(parts) = multipart::parts(content_type, &said)
        {
            return CanonicalBody::Multipart(parts.iter().map(Part::new).collect());
        }
        CanonicalBody::raw(&said)
    }

    fn without_ignored(&self, mut value: Value) -> Value {
        // All are found before the first one goes, as then an index means another item.
        let mut places: Vec<Vec<Step>> = Vec::new();
        for path in &self.ignore {
            let found = path.query_located(&value);
            places.extend(
                found
                    .locations()
                    .map(|at| at.iter().map(Step::from).collect()),
            );
        }
        places.sort_unstable();
        places.dedup();
        for place in places.iter().rev() {
            remove(&mut value, place);
        }
        value.sort_all_objects();
        value
    }
}

/// A request in its one form. What is equal here has the same key; so has what differs only in how a number is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// As sent.
    pub method: String,
    /// In lower case, without the usual port. `None` where it does not count, or was not sent.
    pub host: Option<String>,
    /// Escapes only where they are needed, with digits in upper case. Dot segments stay.
    pub path: String,
    /// Decoded, sorted by name; values of one name in their order.
    pub query: Vec<(String, String)>,
    /// Those that count, in lower case, sorted by name; no values where it was not sent.
    pub headers: Vec<(String, Vec<String>)>,
    /// What the body says.
    pub body: CanonicalBody,
}

/// A body in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanonicalBody {
    /// No byte.
    Empty,
    /// Members sorted, ignored paths removed.
    Json(Value),
    /// Decoded, sorted by name; values of one name in their order.
    Form(Vec<(String, String)>),
    /// In their order, without the boundary.
    Multipart(Vec<Part>),
    /// Anything else that is short and UTF-8.
    Text(String),
    /// Anything else.
    Bytes {
        /// How many.
        len: usize,
        /// The beginning of their BLAKE3 hash.
        hash: [u8; 16],
    },
    /// Too large to be read; it does not count.
    Unread,
}

/// A part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From its `content-disposition`.
    pub name: Option<String>,
    /// From its `content-disposition`.
    pub filename: Option<String>,
    /// As sent, in lower case.
    pub content_type: Option<String>,
    /// `Text` or `Bytes`, or `Empty`.
    pub content: CanonicalBody,
}

impl Part {
    fn new(part: &multipart::RawPart<'_>) -> Self {
        Self {
            name: part.disposition("name"),
            filename: part.disposition("filename"),
            content_type: part.header("content-type").map(str::to_ascii_lowercase),
            content: CanonicalBody::raw(part.bytes),
        }
    }
}

impl CanonicalBody {
    /// Bytes that are only compared.
    fn raw(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= MAX_TEXT => Self::Text(text.to_owned()),
            _ => {
                let mut hash = [0; 16];
                blake3::Hasher::new()
                    .update(bytes)
                    .finalize_xof()
                    .fill(&mut hash);
                Self::Bytes {
                    len: bytes.len(),
                    hash,
                }
            }
        }
    }
}

impl Canonical {
    /// The key of all requests that have this form.
    pub fn key(&self) -> Key {
        encode::key(self)
    }
}

/// What requests that are the same have in common. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// Its first twelve digits, for names that people read.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is not 32 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key, expected 32 hexadecimal digits in lower case")]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let digits = text
            .bytes()
            .filter(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 32 || digits.count() != 32 {
            return Err(NotAKey);
        }
        u128::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_| NotAKey)
    }
}

/// A step from a value to one inside of it, that outlives the query which found it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Name(String),
    Index(usize),
}

impl From<&serde_json_path::PathElement<'_>> for Step {
    fn from(element: &serde_json_path::PathElement<'_>) -> Self {
        match element {
            serde_json_path::PathElement::Name(name) => Self::Name((*name).to_owned()),
            serde_json_path::PathElement::Index(index) => Self::Index(*index),
        }
    }
}

fn remove(value: &mut Value, steps: &[Step]) {
    let Some((last, way)) = steps.split_last() else {
        *value = Value::Null;
        return;
    };
    let mut inner = value;
    for step in way {
        let next = match step {
            Step::Name(name) => inner.get_mut(name.as_str()),
            Step::Index(index) => inner.get_mut(*index),
        };
        match next {
            Some(next) => inner = next,
            None => return,
        }
    }
    match (inner, last) {
        // Members are sorted afterwards, so the quick way, which moves the last one into the gap, is good enough.
        (Value::Object(members), Step::Name(name)) => {
            members.swap_remove(name);
        }
        (Value::Array(items), Step::Index(index)) if *index < items.len() => {
            items.remove(*index);
        }
        _ => {}
    }
}

fn looks_like_json(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'['))
}

/// Beyond it a text is only compared by its hash; up to it a difference can be shown.
const MAX_TEXT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
