//! Takes secrets out of what is going to be written or compared: the only maker of [`Redacted`].
//!
//! A secret is known by its place (a header, a query parameter, a member), and is then replaced wherever else the
//! exchange shows it: in the path, in other headers, in bodies, in the answer. The replacement says by which rule, never
//! what. Redacting what was redacted changes nothing, so requests with different credentials become the same request.
//!
//! Works on copies; the client and the upstream get their bytes as they were.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::echo::{Echo, EchoStream};
use super::members::{Members, Names, Syntax};
use super::secrets::{self, Secret, Secrets, placeholder, rule_name};
use crate::key::multipart;
use crate::key::payload::payload;
use crate::message::{Headers, RequestHead, ResponseHead};

/// What holds secrets, besides what is known to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedactSettings {
    /// More headers, of requests and answers, whose values are secrets.
    pub headers: Vec<String>,
    /// More query parameters whose values are secrets.
    pub query: Vec<String>,
    /// More members of JSON bodies and forms whose values, where they are texts, are secrets.
    pub members: Vec<String>,
}

/// Why settings cannot become rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    /// A header that can never be sent.
    #[error("`{0}` is not a header name")]
    Header(String),
    /// An empty or very long name.
    #[error("`{0}` is not a name of 1 to 128 bytes")]
    Name(String),
}

/// Compiled [`RedactSettings`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct RedactRules {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    headers: HashSet<String>,
    query: Names,
    members: Arc<Names>,
    /// Names of forms: those of members and of queries.
    form: Arc<Names>,
    /// All of them, as they stand in placeholders.
    names: Arc<HashSet<String>>,
}

impl RedactRules {
    /// Adds the settings to the defaults.
    ///
    /// # Errors
    ///
    /// The first name that cannot be one.
    pub fn compile(settings: &RedactSettings) -> Result<Self, RedactError> {
        let mut headers: HashSet<String> = HEADERS.iter().map(|&name| name.to_owned()).collect();
        for name in &settings.headers {
            match http::HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => headers.insert(name.as_str().to_owned()),
                Err(_) => return Err(RedactError::Header(name.clone())),
            };
        }
        for name in settings.query.iter().chain(&settings.members) {
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(RedactError::Name(name.clone()));
            }
        }
        let all = |defaults: &[&str], more: &[String]| -> Vec<String> {
            let more = more.iter().map(String::as_str);
            defaults
                .iter()
                .copied()
                .chain(more)
                .map(str::to_ascii_lowercase)
                .collect()
        };
        let query = all(&QUERY, &settings.query);
        let members = all(&MEMBERS, &settings.members);
        let names = headers.iter().chain(&query).chain(&members);
        let names = names.map(|name| rule_name(name)).collect();
        Ok(Self {
            rules: Arc::new(Rules {
                headers,
                form: Arc::new(Names::new(query.iter().chain(&members).cloned())),
                query: Names::new(query),
                members: Arc::new(Names::new(members)),
                names: Arc::new(names),
            }),
        })
    }

    /// Collects the secrets that a request carries, so that they are found wherever they appear.
    pub fn exchange(&self, head: &RequestHead) -> Redactor {
        let secrets = self.secrets(head);
        let echo = Echo::new(&secrets).map(Arc::new);
        Redactor {
            rules: Arc::clone(&self.rules),
            secrets,
            echo,
            response_syntax: Syntax::Json,
            applied: BTreeSet::new(),
        }
    }

    /// The path of a request alone, for a log line. Where it is shorter than every secret of the request it holds none, and
    /// nothing is searched.
    pub fn path(&self, head: &RequestHead) -> Redacted<String> {
        let secrets = self.secrets(head);
        let is_too_short = |secret: &Secret| secret.value.len() > head.path.len();
        if secrets.list().iter().all(is_too_short) {
            return Redacted(head.path.clone());
        }
        let redacted = self.exchange(head).request_head(head).into_inner();
        Redacted(redacted.path)
    }

    fn secrets(&self, head: &RequestHead) -> Secrets {
        let mut secrets = Secrets::new(Arc::clone(&self.rules.names));
        for (name, value) in head.headers.iter() {
            if let Some(rule) = self.rules.header(name) {
                secrets.header(&rule, value);
            }
        }
        for (name, value) in query_pairs(head.query.as_deref().unwrap_or_default()) {
            if let Some(rule) = self.rules.query.rule(&name) {
                secrets.escaped(&rule, value);
            }
        }
        secrets
    }
}

impl Default for RedactRules {
    /// The defaults alone.
    fn default() -> Self {
        Self::compile(&RedactSettings::default()).expect("the defaults are names")
    }
}

impl Rules {
    fn header(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        self.headers.contains(&name).then_some(name)
    }
}

/// Something from which the secrets are taken out. Nothing else is ever written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// What is left.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// What is left.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Redacts one exchange: first the request's head, then its body, the answer's head, and the answer's body.
pub struct Redactor {
    rules: Arc<Rules>,
    secrets: Secrets,
    /// `None` while there are no secrets.
    echo: Option<Arc<Echo>>,
    response_syntax: Syntax,
    applied: BTreeSet<String>,
}

// A secret must not get into a log by way of `{:?}`.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor")
            .field("secrets", &self.secrets.list().len())
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl Redactor {
    /// The head of the request, in a form that does not depend on its credentials.
    pub fn request_head(&mut self, head: &RequestHead) -> Redacted<RequestHead> {
        let path = self.text(&head.path);
        let query = head.query.as_deref().map(|query| {
            let query = self.settled(query.as_bytes(), |redactor, query| {
                redactor.parameters(query, b"&")
            });
            String::from_utf8_lossy(&query).into_owned()
        });
        Redacted(RequestHead {
            method: head.method.clone(),
            path,
            query,
            headers: self.headers(&head.headers),
        })
    }

    /// What the request's body says, without secrets.
    ///
    /// It comes decoded where it was encoded or chunk-signed: secrets can only be found there, and a key is made of what
    /// is said. A body in an unknown encoding is searched as it is.
    pub fn request_body(&mut self, head: &RequestHead, body: &[u8]) -> Redacted<Bytes> {
        let said = payload(head, body, DECODE_LIMIT);
        let content_type = head.headers.get_str("content-type").unwrap_or_default();
        let body = self.settled(&said, |redactor, body| {
            redactor.by_members(content_type, body)
        });
        Redacted(Bytes::from(body))
    }

    /// The head of the answer; what its cookies set is a secret from now on.
    pub fn response_head(&mut self, head: &ResponseHead) -> Redacted<ResponseHead> {
        let known = self.secrets.list().len();
        for (name, value) in head.headers.iter() {
            if let Some(rule) = self.rules.header(name) {
                self.secrets.header(&rule, value);
            }
        }
        if self.secrets.list().len() > known {
            self.echo = Echo::new(&self.secrets).map(Arc::new);
        }
        self.response_syntax = syntax(head.headers.get_str("content-type").unwrap_or_default());
        Redacted(ResponseHead {
            status: head.status,
            reason: head.reason.as_deref().map(|reason| self.text(reason)),
            headers: self.headers(&head.headers),
        })
    }

    /// For the answer's body as it comes, decoded. Ask for it after [`Redactor::response_head`], which finds the secrets
    /// that the answer sets.
    pub fn stream<T: Copy>(&self) -> StreamRedactor<T> {
        let names = match self.response_syntax {
            Syntax::Json => &self.rules.members,
            Syntax::Form => &self.rules.form,
        };
        StreamRedactor {
            members: Members::new(Arc::clone(names), self.response_syntax),
            echo: EchoStream::new(self.echo.clone()),
        }
    }

    /// A body that is there as a whole, decoded.
    pub fn whole_body(&mut self, content_type: &str, body: &[u8]) -> Redacted<Bytes> {
        let body = self.by_members(content_type, body);
        let body = self.echoed(&body).unwrap_or(body);
        Redacted(Bytes::from(body))
    }

    /// The names of the rules that fired so far, sorted; not those of a [`StreamRedactor`].
    pub fn applied(&self) -> Vec<String> {
        self.applied.iter().cloned().collect()
    }

    fn headers(&mut self, headers: &Headers) -> Headers {
        let kept = headers
            .iter()
            // A secret in a name can't be replaced there: what is not a name any more can't be sent.
            .filter(|(name, _)| {
                name.len() < LONG_NAME
                    || self
                        .echo
                        .as_ref()
                        .is_none_or(|echo| !echo.finds(name.as_bytes()))
            })
            .collect::<Vec<_>>();
        kept.into_iter()
            .map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                let value = if self.rules.headers.contains(&lower) {
                    self.settled(value, |redactor, value| redactor.by_place(&lower, value))
                } else if URL_HEADERS.contains(&lower.as_str()) {
                    self.settled(value, |redactor, value| {
                        redactor.parameters(value, b"?#&>, \"")
                    })
                } else {
                    self.echoed(value).unwrap_or_else(|| value.to_vec())
                };
                (name.to_owned(), Bytes::from(value))
            })
            .collect()
    }

    /// Redacts by place, then what is found anywhere, and by place again until nothing new is found.
    ///
    /// A secret with a quote or a separator in it may have been a part of the syntax. Without the last step, redacting
    /// what was redacted would find more, and the key would be another one.
    fn settled(
        &mut self,
        text: &[u8],
        mut by_place: impl FnMut(&mut Self, &[u8]) -> Vec<u8>,
    ) -> Vec<u8> {
        let mut text = by_place(self, text);
        if let Some(replaced) = self.echoed(&text) {
            text = replaced;
            for _ in 0..MAX_ROUNDS {
                let next = by_place(self, &text);
                if next == text {
                    break;
                }
                text = next;
            }
        }
        text
    }

    /// Takes the values of secret parameters out of a query, or of whatever has `name=value` between these bytes.
    fn parameters(&mut self, text: &[u8], separators: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        for piece in text.split_inclusive(|byte| separators.contains(byte)) {
            let (pair, separator) = match piece.split_last() {
                Some((last, pair)) if separators.contains(last) => (pair, Some(*last)),
                _ => (piece, None),
            };
            let (name, value) = secrets::cookie(pair);
            let rule = self.rules.query.rule(&decoded_name(name));
            match rule {
                Some(rule) if self.is_secret(value) => {
                    out.extend_from_slice(name);
                    out.push(b'=');
                    out.extend_from_slice(&placeholder(&rule));
                    self.applied.insert(rule);
                }
                _ => out.extend_from_slice(pair),
            }
            out.extend(separator);
        }
        out
    }

    fn by_members(&mut self, content_type: &str, body: &[u8]) -> Vec<u8> {
        match multipart::parts(content_type, body) {
            Some(parts) => self.multipart(body, &parts),
            None => self.members(body, syntax(content_type)),
        }
    }

    fn members(&mut self, body: &[u8], syntax: Syntax) -> Vec<u8> {
        let names = match syntax {
            Syntax::Json => &self.rules.members,
            Syntax::Form => &self.rules.form,
        };
        let mut members = Members::new(Arc::clone(names), syntax);
        let mut out = Vec::with_capacity(body.len());
        members.push(body, &mut out);
        members.finish();
        if members.changed() {
            self.applied.extend(members.applied().cloned());
        }
        // curl sends JSON as a form unless told otherwise.
        if syntax == Syntax::Form && body.trim_ascii_start().starts_with(b"{") {
            return self.members(&out, Syntax::Json);
        }
        out
    }

    fn multipart(&mut self, body: &[u8], parts: &[multipart::RawPart<'_>]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len());
        let mut done = 0;
        for part in parts {
            out.extend_from_slice(body.get(done..part.content.start).unwrap_or_default());
            done = part.content.end;
            // `key` is the name of an object in the forms of S3, and nothing of a secret.
            let rule = part
                .disposition("name")
                .filter(|name| !name.eq_ignore_ascii_case("key"))
                .and_then(|name| self.rules.form.rule(name.as_bytes()));
            match rule {
                Some(rule) if self.is_secret(part.bytes) => {
                    out.extend_from_slice(&placeholder(&rule));
                    self.applied.insert(rule);
                }
                _ => {
                    let content = self.members(part.bytes, Syntax::Json);
                    out.extend_from_slice(&content);
                }
            }
        }
        out.extend_from_slice(body.get(done..).unwrap_or_default());
        out
    }

    /// The value of a header that holds a secret, without it.
    fn by_place(&mut self, rule: &str, value: &[u8]) -> Vec<u8> {
        let redacted = match rule {
            "cookie" => self.cookies(rule, value, usize::MAX),
            "set-cookie" => self.cookies(rule, value, 1),
            _ => {
                let (scheme, rest) = secrets::scheme(value);
                let mut out = scheme.unwrap_or_default().to_vec();
                if scheme.is_some() && !rest.is_empty() {
                    out.push(b' ');
                }
                if self.is_secret(rest) {
                    out.extend_from_slice(&placeholder(rule));
                } else {
                    out.extend_from_slice(rest);
                }
                out
            }
        };
        if redacted != value {
            self.applied.insert(rule.to_owned());
        }
        redacted
    }

    /// Keeps names and attributes; at most so many pairs have a secret, the others are attributes.
    fn cookies(&self, rule: &str, value: &[u8], pairs: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len());
        for (index, pair) in value.split(|byte| *byte == b';').enumerate() {
            if index > 0 {
                out.push(b';');
            }
            let (name, secret) = secrets::cookie(pair);
            if index >= pairs || !self.is_secret(secret) {
                out.extend_from_slice(pair);
                continue;
            }
            if name.is_empty() {
                let blanks = pair.len() - pair.trim_ascii_start().len();
                out.extend_from_slice(pair.get(..blanks).unwrap_or_default());
            } else {
                out.extend_from_slice(name);
                out.push(b'=');
            }
            out.extend_from_slice(&placeholder(rule));
        }
        out
    }

    /// Whether a value in a secret's place is one: not nothing, and not what stands for one already.
    fn is_secret(&self, value: &[u8]) -> bool {
        let value = value.trim_ascii();
        !value.is_empty() && !secrets::is_placeholder(value, &self.rules.names)
    }

    fn echoed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.echo.as_ref()?.replace(bytes, &mut self.applied)
    }

    fn text(&mut self, text: &str) -> String {
        match self.echoed(text.as_bytes()) {
            Some(replaced) => String::from_utf8_lossy(&replaced).into_owned(),
            None => text.to_owned(),
        }
    }
}

/// Redacts a body that comes in chunks.
///
/// Each chunk comes out once, in order, under its own tag, as soon as all of it is decided; it may come out empty. A secret
/// that begins in one chunk and ends in another is replaced in the first. All that comes out, put together, is what
/// redacting all that went in would give, however it was cut. Held are the chunks with bytes that could still become a
/// part of a secret, so never more than one chunk and the longest spelling of a secret.
#[derive(Debug)]
pub struct StreamRedactor<T> {
    members: Members,
    echo: EchoStream<T>,
}

impl<T: Copy> StreamRedactor<T> {
    /// Takes the next chunk and gives those that are decided.
    pub fn push(&mut self, tag: T, bytes: &[u8]) -> Vec<(T, Redacted<Bytes>)> {
        let mut out = Vec::with_capacity(bytes.len());
        self.members.push(bytes, &mut out);
        redacted(self.echo.push(tag, out))
    }

    /// There is no more: gives the chunks that were held.
    pub fn finish(&mut self) -> Vec<(T, Redacted<Bytes>)> {
        self.members.finish();
        redacted(self.echo.finish())
    }

    /// Whether what came out so far is not what went in. Certain after [`StreamRedactor::finish`].
    pub fn changed(&self) -> bool {
        self.members.changed() || self.echo.changed()
    }

    /// The names of the rules that fired, sorted.
    pub fn applied(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.members.applied().chain(self.echo.applied()).collect();
        names.into_iter().cloned().collect()
    }
}

/// Makes a head fit a body that was changed: computes `content-length` anew, where there is one, and takes out digests of
/// the old bytes. `None` for a length that is not known. An `etag` stays, as it names the resource.
pub fn fix_length(head: &mut ResponseHead, new_len: Option<u64>) {
    if head.headers.contains("content-length") {
        match new_len {
            Some(length) => head.headers.set("content-length", length.to_string()),
            None => {
                head.headers.remove("content-length");
            }
        }
    }
    head.headers.retain(|name, _| {
        let name = name.to_ascii_lowercase();
        !(DIGESTS.contains(&name.as_str()) || name.starts_with("x-amz-checksum-"))
    });
}

fn redacted<T>(chunks: Vec<(T, Vec<u8>)>) -> Vec<(T, Redacted<Bytes>)> {
    chunks
        .into_iter()
        .map(|(tag, bytes)| (tag, Redacted(Bytes::from(bytes))))
        .collect()
}

/// Decoded names and raw values.
fn query_pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    query.as_bytes().split(|byte| *byte == b'&').map(|pair| {
        let (name, value) = secrets::cookie(pair);
        (decoded_name(name), value)
    })
}

fn decoded_name(name: &[u8]) -> Vec<u8> {
    percent_decode(name).collect()
}

fn syntax(content_type: &str) -> Syntax {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Syntax::Form
    } else {
        Syntax::Json
    }
}

/// Headers of requests and answers whose values are secrets. The tokens against request forgery are bound to a session
/// and die with it, but until then they are a half of it.
const HEADERS: [&str; 18] = [
    "api-key",
    "authorization",
    "cookie",
    "cookie2",
    "ocp-apim-subscription-key",
    "openai-api-key",
    "private-token",
    "proxy-authorization",
    "set-cookie",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-gitlab-token",
    "x-goog-api-key",
    "x-vault-token",
    "x-xsrf-token",
];

/// Shorter names are words of the protocol.
const LONG_NAME: usize = 10;

/// Query parameters whose values are secrets.
const QUERY: [&str; 28] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "authorization",
    "client_secret",
    "id_token",
    "jwt",
    "key",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "sas",
    "secret",
    "sig",
    "signature",
    "subscription-key",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-signature",
];

/// Members of JSON bodies and forms whose values are secrets where they are texts.
const MEMBERS: [&str; 7] = [
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
    "id_token",
    "password",
    "refresh_token",
];

/// Headers that hold URLs, whose parameters may be secrets.
const URL_HEADERS: [&str; 5] = ["content-location", "link", "location", "referer", "refresh"];

/// Headers that vouch for the bytes of a body.
const DIGESTS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];

/// Each round leaves less syntax; more than two are only seen in bodies made for it.
const MAX_ROUNDS: usize = 8;

/// Longer than any name in use.
const MAX_NAME: usize = 128;

/// 64 MiB: eight times the default of what is read of a request's body for its key.
const DECODE_LIMIT: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
