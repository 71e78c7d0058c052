//! Where to listen and where the upstream is, as text that is parsed once.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::origin::{Origin, OriginError};
use crate::units::as_text;

/// A host and a port: `127.0.0.1:8080`, `localhost:0`, `[::1]:8080`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address; IPv6 without its brackets.
    pub host: String,
    /// 0 where any free port will do.
    pub port: u16,
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address: {what}, expected a host and a port such as `127.0.0.1:8080`")]
pub struct AddressError {
    text: String,
    what: String,
}

/// Where the answers of a route come from when they are not replayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// The built-in backend.
    Fake,
    /// A server.
    Url(Origin),
}

impl Address {
    /// On this machine only.
    pub fn local(port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    /// Whether only this machine can be meant by the host.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl Address {
    /// Whether nobody can listen here and there: at the same port of the same host, or of all hosts and one of them. `[::]` is
    /// IPv4 too. Two free ports are never the same; of names, `localhost` may be any address of this machine alone.
    pub fn is_taken_by(&self, other: &Self) -> bool {
        if self.port == 0 || self.port != other.port {
            return false;
        }
        if self.host.eq_ignore_ascii_case(&other.host) {
            return true;
        }
        match (self.ip(), other.ip()) {
            (Some(one), Some(two)) => one == two || is_all_of(one, two) || is_all_of(two, one),
            (Some(ip), None) | (None, Some(ip)) => {
                // The one that is no address of IP is a name.
                let is_local = self.is_loopback() && other.is_loopback();
                let is_named = self.is_loopback() || other.is_loopback();
                is_local || (is_named && ip.is_unspecified())
            }
            (None, None) => false,
        }
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Whether who listens at the one listens at the other too.
fn is_all_of(one: IpAddr, other: IpAddr) -> bool {
    one.is_unspecified() && (one.is_ipv6() || other.is_ipv4())
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |what: String| AddressError {
            text: text.to_owned(),
            what,
        };
        let (host, port) = host_and_port(text).map_err(error)?;
        match port {
            Some(port) => Ok(Self { host, port }),
            None => Err(error("the port is missing".to_owned())),
        }
    }
}

impl FromStr for Upstream {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "fake" {
            Ok(Self::Fake)
        } else {
            text.parse().map(Self::Url)
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    if text.contains('/') {
        return Err("a scheme or a path does not belong to it".to_owned());
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the host is missing".to_owned());
    }
    let (host, port) = if let Some(inside) = text.strip_prefix('[') {
        let (host, rest) = inside
            .split_once(']')
            .ok_or("the bracket `[` is never closed")?;
        host.parse::<Ipv6Addr>()
            .map_err(|_| format!("`{host}` is not an IPv6 address"))?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(format!("`{rest}` after the host makes no sense")),
        }
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        if port.is_some_and(|port| port.contains(':')) {
            return Err("an IPv6 address needs brackets".to_owned());
        }
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }
        let is_allowed =
            |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
        if let Some(wrong) = host.chars().find(|&char| !is_allowed(char)) {
            return Err(format!("{wrong:?} can't be in the name of a host"));
        }
        (host, port)
    };
    let port = match port {
        Some(port) => Some(
            port.parse()
                .ok()
                // `parse` takes a plus sign.
                .filter(|_| !port.starts_with('+'))
                .ok_or_else(|| format!("`{port}` is not a port from 0 to 65535"))?,
        ),
        None => None,
    };
    Ok((host.to_owned(), port))
}

fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') {
        Cow::Owned(format!("[{host}]"))
    } else {
        Cow::Borrowed(host)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fake => f.write_str("fake"),
            Self::Url(url) => url.fmt(f),
        }
    }
}

as_text!(
    Address,
    "Address",
    "A host and a port such as `127.0.0.1:8080`."
);
as_text!(
    Upstream,
    "Upstream",
    "`http://HOST[:PORT]`, `https://HOST[:PORT]`, or `fake` for the built-in backend."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["127.0.0.1:8080", "localhost:0", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            ":80",
            "host",
            "host:",
            "host:70000",
            "host:+1",
            "::1:80",
            "[::1]",
            "[x]:1",
            "a b:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("8080", "the host is missing"),
            (":8080", "the host is missing"),
            ("localhost", "the port is missing"),
            (
                "http://127.0.0.1:8080",
                "a scheme or a path does not belong to it",
            ),
            (
                "127.0.0.1:8080/",
                "a scheme or a path does not belong to it",
            ),
            ("127.0.0.1:99999", "`99999` is not a port from 0 to 65535"),
            ("::1:80", "an IPv6 address needs brackets"),
        ] {
            assert_eq!(
                text.parse::<Address>().unwrap_err().to_string(),
                format!(
                    "`{text}` is not an address: {reason}, expected a host and a port such as `127.0.0.1:8080`"
                )
            );
        }
    }

    #[test]
    fn two_can_not_listen_where_one_takes_the_place_of_the_other() {
        for (one, two, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "0.0.0.0:2", false),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "[::1]:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("[::1]:1", "127.0.0.1:1", false),
            ("[0:0::1]:1", "[::1]:1", true),
            ("localhost:1", "LOCALHOST:1", true),
            ("localhost:1", "127.0.0.1:1", true),
            ("localhost:1", "0.0.0.0:1", true),
            ("localhost:1", "192.0.2.1:1", false),
            ("a.test:1", "b.test:1", false),
            ("a.test:1", "192.0.2.1:1", false),
            ("a.test:1", "0.0.0.0:1", false),
        ] {
            let (one, two): (Address, Address) = (one.parse().unwrap(), two.parse().unwrap());
            assert_eq!(one.is_taken_by(&two), expected, "{one} {two}");
            assert_eq!(two.is_taken_by(&one), expected, "{two} {one}");
        }
    }

    #[test]
    fn only_a_host_of_this_machine_alone_is_loopback() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("LocalHost:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
            ("localhost.example:1", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.is_loopback(), expected, "{text}");
        }
    }
}
