//! Where a route's requests go: scheme, host, port and a path to put in front.

use std::fmt;
use std::str::FromStr;

/// An upstream as the config names it: `http://127.0.0.1:9000/base`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// A name or an address; IPv6 without its brackets.
    pub host: String,
    /// 80 or 443 where none is named.
    pub port: u16,
    /// What stands before each request's path; empty, or begins with `/` and does not end with one.
    pub base_path: String,
}

/// Why a text is not an upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It does not begin with a scheme that we speak.
    #[error(
        "`{0}` is not an upstream: the scheme is missing, expected `http://HOST`, `https://HOST` or `fake`"
    )]
    Scheme(String),
    /// There is no host in it.
    #[error("`{0}` is not an upstream: the host is missing")]
    NoHost(String),
    /// Name and password would end up in logs and cassettes.
    #[error("a user or a password does not belong into an upstream, put it into `set_headers`")]
    UserInfo,
    /// A query or fragment can't be put in front of a path.
    #[error("`{0}` is not an upstream: a query or a fragment does not belong here")]
    Query(String),
    /// Not a URL in some other way.
    #[error("`{0}` is not an upstream: {1}")]
    Malformed(String, String),
}

impl Origin {
    /// Host and port as they stand in a `Host` header; the scheme's own port is left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if has_password(text) {
            return Err(OriginError::UserInfo);
        }
        let is_tls = match text
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase())
        {
            Some(scheme) if scheme == "http" => false,
            Some(scheme) if scheme == "https" => true,
            _ => return Err(OriginError::Scheme(text.to_owned())),
        };
        if text.contains(['?', '#']) {
            return Err(OriginError::Query(text.to_owned()));
        }
        let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
        if matches!(after_scheme.chars().next(), None | Some('/' | ':')) {
            return Err(OriginError::NoHost(text.to_owned()));
        }
        let uri: http::Uri = text.parse().map_err(|error: http::uri::InvalidUri| {
            OriginError::Malformed(text.to_owned(), error.to_string())
        })?;
        let authority = uri
            .authority()
            .ok_or_else(|| OriginError::NoHost(text.to_owned()))?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(OriginError::NoHost(text.to_owned()));
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.contains(']') => {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                    OriginError::Malformed(
                        text.to_owned(),
                        format!("`{port}` is not a port from 1 to 65535"),
                    )
                })?
            }
            _ if is_tls => 443,
            _ => 80,
        };
        Ok(Self {
            is_tls,
            host,
            port,
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// Whether a text, or a URL in it, holds a user or a password: `http://user:password@host`, `user:password@host`.
pub fn has_password(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let word = text[..at]
            .rsplit(|char: char| char.is_whitespace() || matches!(char, '"' | '\'' | '`'))
            .next()
            .unwrap_or_default();
        let Some((_, inside)) = word.split_once("://") else {
            return word.contains(':');
        };
        // Where a slash comes before it, this is part of a path; unless what is before the slash makes no host and port.
        let Some((authority, _)) = inside.split_once('/') else {
            return true;
        };
        let port = authority.rsplit_once(':').map(|(_, port)| port);
        port.is_some_and(|port| {
            !port
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b']')
        })
    })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_read_and_written() {
        for (text, shown, host, port) in [
            (
                "http://localhost:9000",
                "http://localhost:9000",
                "localhost",
                9000,
            ),
            (
                "https://api.example.com/",
                "https://api.example.com",
                "api.example.com",
                443,
            ),
            (
                "HTTP://127.0.0.1/base/",
                "http://127.0.0.1/base",
                "127.0.0.1",
                80,
            ),
            ("http://[::1]:8080", "http://[::1]:8080", "::1", 8080),
            ("http://[::1]", "http://[::1]", "::1", 80),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(
                (
                    origin.to_string().as_str(),
                    origin.host.as_str(),
                    origin.port
                ),
                (shown, host, port)
            );
        }
    }

    #[test]
    fn a_password_is_told_from_a_path() {
        for (text, expected) in [
            ("http://user:secret@host", true),
            ("https://token@host/v1", true),
            ("user:secret@host", true),
            ("http://user:se/cret@host", true),
            ("upstream = \"http://user:secret@host\"", true),
            ("http://host/@scope", false),
            ("http://host:8080/@scope", false),
            ("http://[::1]/@scope", false),
            ("http://host", false),
            ("write to: me@example.com", false),
            ("$.messages[?(@.role == \"user\")]", false),
        ] {
            assert_eq!(has_password(text), expected, "{text}");
        }
        let scoped: Origin = "http://host:8080/@scope".parse().unwrap();
        assert_eq!(scoped.base_path, "/@scope");
    }

    #[test]
    fn what_is_not_an_upstream_is_refused_with_the_reason() {
        for (text, reason) in [
            (
                "localhost:9000",
                "`localhost:9000` is not an upstream: the scheme is missing, expected `http://HOST`, `https://HOST` or `fake`",
            ),
            (
                "ftp://x",
                "`ftp://x` is not an upstream: the scheme is missing, expected `http://HOST`, `https://HOST` or `fake`",
            ),
            (
                "http://",
                "`http://` is not an upstream: the host is missing",
            ),
            (
                "http://:80",
                "`http://:80` is not an upstream: the host is missing",
            ),
            (
                "http://u:p@host",
                "a user or a password does not belong into an upstream, put it into `set_headers`",
            ),
            (
                "http://u:p@host/?a=1",
                "a user or a password does not belong into an upstream, put it into `set_headers`",
            ),
            (
                "u:p@host",
                "a user or a password does not belong into an upstream, put it into `set_headers`",
            ),
            (
                "http://host/?a=1",
                "`http://host/?a=1` is not an upstream: a query or a fragment does not belong here",
            ),
            (
                "http://host:99999",
                "`http://host:99999` is not an upstream: `99999` is not a port from 1 to 65535",
            ),
            (
                "http://host:0",
                "`http://host:0` is not an upstream: `0` is not a port from 1 to 65535",
            ),
        ] {
            assert_eq!(
                text.parse::<Origin>().unwrap_err().to_string(),
                reason,
                "{text}"
            );
        }
        assert!("http://a b".parse::<Origin>().is_err());
    }
}
