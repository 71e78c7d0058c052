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
        if authority.as_str().contains('@') {
            return Err(OriginError::UserInfo);
        }
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
