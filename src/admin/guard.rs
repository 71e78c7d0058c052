//! Who may use the admin listener: whoever calls it by a name of ours, is no web page, and has the token.
//!
//! The host is asked for because a web page can have its own name resolve to this machine and so come past the browser's rules; the
//! name that it must use then gives it away.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::Refusal;
use super::token::Token;

/// What is asked of every request.
pub(super) struct Guard {
    token: Token,
    /// In lower case, IPv6 addresses in brackets.
    hosts: Vec<String>,
    /// What else it is called, in lower case: with a port, or alone for any port.
    others: Vec<String>,
    port: u16,
    /// A listener on all addresses can be meant by each of them. An address is no name that somebody could make point here.
    takes_addresses: bool,
}

impl Guard {
    /// `host` is as the config names it, `others` what else it is called there, `address` what it became.
    pub(super) fn new(token: Token, host: &str, others: &[String], address: SocketAddr) -> Self {
        let host = host.to_ascii_lowercase();
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        let mut hosts: Vec<_> = LOCAL.iter().map(|&host| host.to_owned()).collect();
        hosts.push(host);
        Self {
            token,
            hosts,
            others: others
                .iter()
                .map(|other| other.to_ascii_lowercase())
                .collect(),
            port: address.port(),
            takes_addresses: address.ip().is_unspecified(),
        }
    }

    /// Whether a request may be answered.
    pub(super) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut named = headers.get_all(header::HOST).iter();
        let is_ours = match (named.next(), named.next()) {
            (Some(host), None) => host.to_str().is_ok_and(|host| self.knows(host)),
            (None | Some(_), _) => false,
        };
        let is_target_ours = uri
            .authority()
            .is_none_or(|authority| self.knows(authority.as_str()));
        if !(is_ours && is_target_ours) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "the admin listener is not called that; name it as it was printed at the start, or add \
                 the name to `admin_hosts` in `[listen]`",
            ));
        }
        if headers.contains_key(header::ORIGIN) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "the admin listener answers no web pages",
            ));
        }
        if HEALTH.contains(&uri.path()) || self.has_token(headers) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "the bearer token is missing or wrong; it is in the file that was named at the start, or what \
             REHEARSAL_ADMIN_TOKEN said then",
        ))
    }

    fn knows(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = match authority.rsplit_once(':') {
            // The colon is part of an IPv6 address.
            Some((_, port)) if port.ends_with(']') => (authority.as_str(), None),
            Some((host, port)) => (host, Some(port)),
            None => (authority.as_str(), None),
        };
        if self
            .others
            .iter()
            .any(|other| *other == authority || other == host)
        {
            return true;
        }
        let is_port_ours = match port {
            Some(port) => port == self.port.to_string(),
            None => self.port == HTTP_PORT,
        };
        is_port_ours
            && (self.hosts.iter().any(|known| known == host)
                || self.takes_addresses && is_address(host))
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return false;
        };
        given
            .to_str()
            .ok()
            .and_then(|given| given.split_once(' '))
            .is_some_and(|(scheme, token)| {
                scheme.eq_ignore_ascii_case("bearer") && self.token.is(token.trim())
            })
    }
}

fn is_address(host: &str) -> bool {
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inside {
        Some(inside) => inside
            .parse()
            .is_ok_and(|address: IpAddr| address.is_ipv6()),
        None => host.parse().is_ok_and(|address: IpAddr| address.is_ipv4()),
    }
}

/// What this machine calls itself.
const LOCAL: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// What anybody may ask who can reach the listener.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Of a host without a port.
const HTTP_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(guard: &Guard, uri: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        match guard.admit(&uri.parse().unwrap(), &map) {
            Ok(()) => 200,
            Err(refusal) => refusal.status.as_u16(),
        }
    }

    fn guard(host: &str, address: &str) -> Guard {
        let token = Token::given("right").unwrap();
        let others = ["Admin.test", "mapped.test:9000", "[2001:db8::2]"].map(str::to_owned);
        Guard::new(token, host, &others, address.parse().unwrap())
    }

    #[test]
    fn only_a_host_of_ours_with_the_port_is_answered() {
        let local = guard("box.test", "127.0.0.1:8081");
        let auth = ("authorization", "Bearer right");
        for (host, expected) in [
            ("127.0.0.1:8081", 200),
            ("LocalHost:8081", 200),
            ("[::1]:8081", 200),
            ("box.test:8081", 200),
            ("admin.test", 200),
            ("admin.test:443", 200),
            ("mapped.test:9000", 200),
            ("[2001:db8::2]", 200),
            ("[2001:db8::2]:9000", 200),
            ("mapped.test:8081", 421),
            ("mapped.test", 421),
            ("sub.admin.test", 421),
            ("127.0.0.1", 421),
            ("[::1]", 421),
            ("127.0.0.1:8080", 421),
            ("evil.test:8081", 421),
            ("127.0.0.1.evil.test:8081", 421),
            ("192.0.2.1:8081", 421),
            ("", 421),
        ] {
            let status = admit(&local, "/metrics", &[("host", host), auth]);
            assert_eq!(status, expected, "{host}");
        }
        let all = guard("0.0.0.0", "0.0.0.0:8081");
        for (host, expected) in [
            ("192.0.2.1:8081", 200),
            ("[2001:db8::1]:8081", 200),
            ("evil.test:8081", 421),
        ] {
            let status = admit(&all, "/metrics", &[("host", host), auth]);
            assert_eq!(status, expected, "{host}");
        }
        assert_eq!(admit(&local, "/metrics", &[auth]), 421);
        let host = ("host", "127.0.0.1:8081");
        assert_eq!(admit(&local, "/metrics", &[host, host, auth]), 421);
        let target = "http://evil.test:8081/metrics";
        assert_eq!(admit(&local, target, &[host, auth]), 421);
    }

    #[test]
    fn only_the_token_opens_and_health_needs_none() {
        let guard = guard("127.0.0.1", "127.0.0.1:8081");
        let host = ("host", "127.0.0.1:8081");
        for (value, expected) in [
            ("Bearer right", 200),
            ("bearer right", 200),
            ("Bearer wrong", 401),
            ("Bearer righ", 401),
            ("Bearer ", 401),
            ("Basic right", 401),
            ("right", 401),
        ] {
            let status = admit(&guard, "/v1/faults", &[host, ("authorization", value)]);
            assert_eq!(status, expected, "{value}");
        }
        assert_eq!(admit(&guard, "/v1/faults", &[host]), 401);
        assert_eq!(admit(&guard, "/nothing", &[host]), 401);
        assert_eq!(admit(&guard, "/healthz", &[host]), 200);
        assert_eq!(admit(&guard, "/readyz", &[host]), 200);
        let origin = ("origin", "http://127.0.0.1:8081");
        assert_eq!(admit(&guard, "/healthz", &[host, origin]), 403);
    }
}
