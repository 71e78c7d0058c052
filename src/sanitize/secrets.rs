//! Finds the secrets that an exchange carries, and tells them from what stands for them.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode;

/// Something that must not be written, and the rule by which it is known.
pub(super) struct Secret {
    pub(super) rule: String,
    pub(super) value: Vec<u8>,
}

/// What stands in the place of a secret.
pub(super) fn placeholder(rule: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(rule.len() + PLACEHOLDER.len() + 1);
    text.extend_from_slice(PLACEHOLDER);
    text.extend_from_slice(rule_name(rule).as_bytes());
    text.push(b']');
    text
}

/// How a rule is called in placeholders.
pub(super) fn rule_name(rule: &str) -> String {
    rule.bytes()
        .take(MAX_RULE)
        .map(|byte| match byte.to_ascii_lowercase() {
            byte if is_rule_byte(byte) => char::from(byte),
            _ => '_',
        })
        .collect()
}

/// Whether all of it is what stands in the place of some secret, by one of these rules.
pub(super) fn is_placeholder(value: &[u8], rules: &HashSet<String>) -> bool {
    value
        .strip_prefix(PLACEHOLDER)
        .and_then(|rest| rest.strip_suffix(b"]"))
        .and_then(|rule| std::str::from_utf8(rule).ok())
        .is_some_and(|rule| rules.contains(rule))
}

/// Whether a header of this name, in lower case, holds a secret, whoever made it up: `xi-api-key`, `x-shopify-access-token`.
pub(super) fn names_secret(name: &str) -> bool {
    let is_end = |end: &&str| {
        let name = name.as_bytes();
        name.len() >= end.len()
            && name
                .iter()
                .rev()
                .zip(end.bytes().rev())
                .all(|(have, want)| *have == want || (*have == b'_' && want == b'-'))
    };
    SECRET_ENDS.iter().any(is_end)
}

/// Whether this byte may stand in the name of a rule in a placeholder.
pub(super) fn is_rule_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.')
}

/// The scheme of an `Authorization` value, where it is a known one, and the rest.
///
/// An unknown first word may well be a part of the secret.
pub(super) fn scheme(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let value = value.trim_ascii();
    let end = memchr::memchr2(b' ', b'\t', value).unwrap_or(value.len());
    let (word, rest) = value.split_at(end);
    if is_scheme(word) {
        (Some(word), rest.trim_ascii())
    } else {
        (None, value)
    }
}

fn is_scheme(word: &[u8]) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// The pairs of a `cookie` value, or the first one of a `set-cookie` value: names and values.
pub(super) fn cookies(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|byte| *byte == b';').map(cookie)
}

/// Name and value; a cookie without `=` is all value.
pub(super) fn cookie(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => {
            let (name, value) = pair.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        }
        None => (&[], pair),
    }
}

/// Collects the secrets of one exchange.
pub(super) struct Secrets {
    /// All that may stand in a placeholder. Anything else in its brackets could be a secret.
    rules: Arc<HashSet<String>>,
    known: BTreeSet<Vec<u8>>,
    list: Vec<Secret>,
}

impl Secrets {
    pub(super) fn new(rules: Arc<HashSet<String>>) -> Self {
        Self {
            rules,
            known: BTreeSet::new(),
            list: Vec::new(),
        }
    }

    pub(super) fn rules(&self) -> &Arc<HashSet<String>> {
        &self.rules
    }

    pub(super) fn list(&self) -> &[Secret] {
        &self.list
    }

    /// All that the value of a header tells.
    pub(super) fn header(&mut self, rule: &str, value: &[u8]) {
        match rule {
            "cookie" => cookies(value).for_each(|(_, value)| self.escaped(rule, value)),
            "set-cookie" => {
                if let Some((_, value)) = cookies(value).next() {
                    self.escaped(rule, value);
                }
            }
            _ => self.credential(rule, value),
        }
    }

    /// A value that may be written with escapes, as in a query.
    pub(super) fn escaped(&mut self, rule: &str, value: &[u8]) {
        let value = value.trim_ascii();
        let value = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""))
            .unwrap_or(value);
        self.add(rule, value);
        let decoded: Vec<u8> = percent_decode(value).collect();
        self.add(rule, &decoded);
        let spaced: Vec<u8> = value
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        self.add(rule, &percent_decode(&spaced).collect::<Vec<u8>>());
        // AKIA…/20260101/region/service/aws4_request
        if let Some(slash) = memchr::memchr(b'/', &decoded)
            && rule == "x-amz-credential"
        {
            self.add(rule, decoded.get(..slash).unwrap_or_default());
        }
    }

    fn credential(&mut self, rule: &str, value: &[u8]) {
        let value = value.trim_ascii();
        let (known, rest) = scheme(value);
        self.add(rule, rest);
        if known.is_some_and(|word| word.eq_ignore_ascii_case(b"basic"))
            && let Ok(decoded) = BASE64.decode(rest)
        {
            self.add(rule, &decoded);
            if let Some(colon) = memchr::memchr(b':', &decoded) {
                self.add(rule, decoded.get(colon + 1..).unwrap_or_default());
            }
        }
        // Credential=AKIA…/20260101/…, SignedHeaders=…, Signature=…
        if known.is_some_and(|word| {
            word.get(..4)
                .is_some_and(|w| w.eq_ignore_ascii_case(b"aws4"))
        }) {
            for pair in rest.split(|byte| matches!(byte, b',' | b' ')) {
                let (name, value) = cookie(pair.trim_ascii());
                if name.eq_ignore_ascii_case(b"credential") {
                    let end = memchr::memchr(b'/', value).unwrap_or(value.len());
                    self.add(rule, value);
                    self.add(rule, value.get(..end).unwrap_or_default());
                } else if name.eq_ignore_ascii_case(b"signature") {
                    self.add(rule, value);
                }
            }
        }
        if known.is_none()
            && let Some(blank) = memchr::memchr(b' ', value)
        {
            self.add(rule, value.get(blank..).unwrap_or_default());
        }
    }

    fn add(&mut self, rule: &str, value: &[u8]) {
        let value = value.trim_ascii();
        let is_word = WORDS
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
        if value.len() < MIN_SECRET
            || is_placeholder(value, &self.rules)
            || is_scheme(value)
            || is_word
        {
            return;
        }
        if value.len() <= MAX_SECRET {
            self.add_piece(rule, value);
            return;
        }
        // In pieces of the same length, so that none of them is short.
        let pieces = value.len().div_ceil(MAX_SECRET);
        for piece in value.chunks(value.len().div_ceil(pieces)) {
            self.add_piece(rule, piece);
        }
    }

    fn add_piece(&mut self, rule: &str, value: &[u8]) {
        if self.known.insert(value.to_vec()) {
            self.list.push(Secret {
                rule: rule.to_owned(),
                value: value.to_vec(),
            });
        }
    }
}

/// How the names of headers end that hold secrets. `-token` alone may also be a place in a list.
const SECRET_ENDS: [&str; 14] = [
    "access-key",
    "access-token",
    "api-key",
    "api-token",
    "apikey",
    "application-key",
    "auth-key",
    "auth-token",
    "functions-key",
    "password",
    "private-key",
    "refresh-token",
    "secret",
    "secret-key",
];

/// How a placeholder begins.
pub(super) const PLACEHOLDER: &[u8] = b"[redacted:";

/// The longest name of a rule in a placeholder.
pub(super) const MAX_RULE: usize = 64;

/// From this length on a secret is replaced anywhere.
pub(super) const LONG_SECRET: usize = 8;

/// Below this length a value is too common to be looked for.
const MIN_SECRET: usize = 4;

/// Longer ones are looked for in pieces, none of them longer.
const MAX_SECRET: usize = 16 * 1024;

/// Values that are no secrets: those without which JSON would be broken, and what people write where a key is asked for
/// but not needed. Were these looked for, a prompt with the word `test` could not be replayed with `test` for a key.
const WORDS: [&str; 21] = [
    "anything",
    "api-key",
    "changeme",
    "default",
    "dummy",
    "empty",
    "example",
    "fake",
    "fake-key",
    "false",
    "lm-studio",
    "mock",
    "none",
    "not-needed",
    "null",
    "ollama",
    "placeholder",
    "test",
    "testing",
    "true",
    "unused",
];

/// The registered ones, and those that APIs use.
const SCHEMES: [&str; 30] = [
    "apikey",
    "api-key",
    "aws",
    "aws4-ecdsa-p256-sha256",
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "bot",
    "concealed",
    "deepl-auth-key",
    "digest",
    "dpop",
    "genericoauth",
    "gnap",
    "googlelogin",
    "hawk",
    "hoba",
    "jwt",
    "key",
    "mutual",
    "negotiate",
    "ntlm",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "sharedkey",
    "sharedkeylite",
    "signature",
    "token",
];

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
