//! Takes out secrets that are known by their place: a header, a parameter, a member of a body.

use std::sync::Arc;

use super::{Redactor, decoded_name};
use crate::key::multipart;
use crate::sanitize::members::{Members, Syntax};
use crate::sanitize::secrets::{self, placeholder};

impl Redactor {
    /// Takes the values of secret parameters out of a query, or of whatever has `name=value` between these bytes.
    pub(super) fn parameters(&mut self, text: &[u8], separators: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        for piece in text.split_inclusive(|byte| separators.contains(byte)) {
            let (pair, separator) = match piece.split_last() {
                Some((last, pair)) if separators.contains(last) => (pair, Some(*last)),
                _ => (piece, None),
            };
            let (name, value) = secrets::cookie(pair);
            let rule = self.rules.query.rule(&decoded_name(name));
            match rule {
                Some(rule) if is_secret(&rule, value) => {
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

    pub(super) fn by_members(&mut self, content_type: &str, body: &[u8]) -> Vec<u8> {
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
                Some(rule) if is_secret(&rule, part.bytes) => {
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
    pub(super) fn by_place(&mut self, rule: &str, value: &[u8]) -> Vec<u8> {
        let redacted = match rule {
            "cookie" => Self::cookies(rule, value, usize::MAX),
            "set-cookie" => Self::cookies(rule, value, 1),
            _ => {
                let (scheme, rest) = secrets::scheme(value);
                let mut out = scheme.unwrap_or_default().to_vec();
                if scheme.is_some() && !rest.is_empty() {
                    out.push(b' ');
                }
                if is_secret(rule, rest) {
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
    fn cookies(rule: &str, value: &[u8], pairs: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len());
        for (index, pair) in value.split(|byte| *byte == b';').enumerate() {
            if index > 0 {
                out.push(b';');
            }
            let (name, secret) = secrets::cookie(pair);
            if index >= pairs || !is_secret(rule, secret) {
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
}

/// Whether a value in a secret's place is one: not nothing, and not what stands for it already. What stands for another one is: a
/// client may send here what it got there from a replay.
fn is_secret(rule: &str, value: &[u8]) -> bool {
    let value = value.trim_ascii();
    !value.is_empty() && value != placeholder(rule)
}

pub(super) fn syntax(content_type: &str) -> Syntax {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Syntax::Form
    } else {
        Syntax::Json
    }
}
