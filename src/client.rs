//! Tells clients apart: by the name they give themselves, else by their API key, else by their address.
//!
//! For sequences, fault rules and the ledger. It is no authentication: anybody may give any name.

use std::fmt;
use std::net::IpAddr;

use crate::message::RequestHead;

/// The header in which a client may name itself.
pub const CLIENT_HEADER: &str = "x-rehearsal-client";

/// Who a client is. Shown in logs and metrics, so it never holds a key, only the beginning of its hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(String);

impl ClientId {
    /// The text that stands for this client.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who sent this request: `x-rehearsal-client`, else the hash of its API key, else the address it came from.
pub fn identify(head: &RequestHead, peer: Option<IpAddr>) -> ClientId {
    identify_by(CLIENT_HEADER, head, peer)
}

/// The same with another header than `x-rehearsal-client`.
pub fn identify_by(header: &str, head: &RequestHead, peer: Option<IpAddr>) -> ClientId {
    if let Some(name) = head.headers.get_str(header).and_then(clean) {
        return ClientId(name);
    }
    let key = KEY_HEADERS
        .iter()
        .find_map(|name| head.headers.get(name).filter(|value| !value.is_empty()));
    match (key, peer) {
        (Some(key), _) => {
            let [a, b, c, d, ..] = blake3::derive_key("rehearsal client id v1", key);
            ClientId(format!("key-{a:02x}{b:02x}{c:02x}{d:02x}"))
        }
        (None, Some(peer)) => ClientId(peer.to_canonical().to_string()),
        (None, None) => ClientId("unknown".to_owned()),
    }
}

/// A name as it may stand in a log line: printable ASCII without blanks, quotes or backslashes, not too long.
fn clean(name: &str) -> Option<String> {
    let name: String = name
        .trim()
        .chars()
        .map(|c| match c {
            '"' | '\\' | '`' => '_',
            c if c.is_ascii_graphic() => c,
            _ => '_',
        })
        .take(MAX_NAME)
        .collect();
    (!name.is_empty()).then_some(name)
}

/// Where API keys stand, in the order in which they count.
const KEY_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// Names are labels of metrics, so they are short.
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Headers;

    fn head(headers: &[(&str, &str)]) -> RequestHead {
        let mut lines = Headers::new();
        for (name, value) in headers {
            lines.push(*name, value.as_bytes().to_vec());
        }
        RequestHead {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: None,
            headers: lines,
        }
    }

    #[test]
    fn a_name_counts_before_a_key_and_a_key_before_an_address() {
        let peer = Some("::ffff:10.0.0.1".parse().unwrap());
        let named = head(&[
            ("X-Rehearsal-Client", "ci 7"),
            ("Authorization", "Bearer k"),
        ]);
        assert_eq!(identify(&named, peer).as_str(), "ci_7");
        let keyed = head(&[("Authorization", "Bearer k")]);
        assert!(identify(&keyed, peer).as_str().starts_with("key-"));
        assert_eq!(identify(&head(&[]), peer).as_str(), "10.0.0.1");
        assert_eq!(identify(&head(&[]), None).as_str(), "unknown");
    }

    #[test]
    fn a_key_is_not_shown_but_tells_clients_apart() {
        let one = identify(&head(&[("x-api-key", "sk-verysecret")]), None);
        let other = identify(&head(&[("x-api-key", "sk-othersecret")]), None);
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), "key-".len() + 8);
        assert!(!format!("{one} {one:?}").contains("secret"));
    }

    #[test]
    fn another_header_may_hold_the_name() {
        let head = head(&[("X-Test", "suite-a"), ("x-rehearsal-client", "b")]);
        assert_eq!(identify_by("x-test", &head, None).as_str(), "suite-a");
    }

    #[test]
    fn a_hostile_name_becomes_a_tame_label() {
        let long = "x\u{1b}[31m\"\\é".repeat(100);
        let id = identify(&head(&[("x-rehearsal-client", &long)]), None);
        assert!(id.as_str().len() <= 64);
        assert!(id.as_str().chars().all(|c| c.is_ascii_graphic()));
        assert_eq!(
            identify(&head(&[("x-rehearsal-client", "  ")]), None).as_str(),
            "unknown"
        );
    }
}
