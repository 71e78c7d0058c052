//! Takes secrets out of what is going to be written or compared: the only maker of [`Redacted`].
//!
//! A secret is known by its place (a header, a query parameter, a member), and is then replaced wherever else the
//! exchange shows it: in the path, in other headers, in bodies, in the answer. The replacement says by which rule, never
//! what. Redacting what was redacted changes nothing, so requests with different credentials become the same request.
//!
//! Works on copies; the client and the upstream get their bytes as they were.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode;

use super::echo::{Echo, EchoStream};
use super::members::{Members, Syntax};
use super::secrets::{self, Secret, Secrets};
use crate::key::payload::payload;
use crate::message::{Headers, RequestHead, ResponseHead};

use places::syntax;
use rules::Rules;

pub use rules::{RedactError, RedactRules, RedactSettings};
pub use stream::StreamRedactor;

mod places;
mod rules;
mod stream;

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

impl RedactRules {
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
                let value = if let Some(rule) = self.rules.header(name) {
                    self.settled(value, |redactor, value| redactor.by_place(&rule, value))
                } else if URL_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
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

/// Shorter names are words of the protocol.
const LONG_NAME: usize = 10;

/// Headers that hold URLs, whose parameters may be secrets.
const URL_HEADERS: [&str; 5] = ["content-location", "link", "location", "referer", "refresh"];

/// Headers that vouch for the bytes of a body.
const DIGESTS: [&str; 4] = ["content-digest", "content-md5", "digest", "repr-digest"];

/// Each round leaves less syntax; more than two are only seen in bodies made for it.
const MAX_ROUNDS: usize = 8;

/// 64 MiB: eight times the default of what is read of a request's body for its key.
const DECODE_LIMIT: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
