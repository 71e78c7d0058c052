//! Finds a route whose upstream is this process: a request to it would come back to us again and again, until there
//! are no file descriptors left. Knows only what can be told from the text; a name is not resolved for it.

use std::net::{IpAddr, SocketAddr};

use anyhow::bail;

use crate::config::{Config, Upstream};
use crate::origin::Origin;

/// Where we listen, bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours {
    /// Whether TLS is spoken there.
    pub is_tls: bool,
    /// Where.
    pub address: SocketAddr,
}

/// An error where the upstream of a route is one of `ours`.
pub(super) fn refuse(config: &Config, ours: &[Ours]) -> anyhow::Result<()> {
    for (index, route) in config.routes.iter().enumerate() {
        let Some(Upstream::Url(origin)) = &route.upstream else {
            continue;
        };
        if let Some(own) = ours.iter().find(|own| is_at(origin, own)) {
            bail!(
                "the upstream of route `{}` is {origin}, but it is this process that listens on {}, so every request \
                 would come back to it; name the API's own address, or listen elsewhere",
                config.route_name(index),
                own.address
            );
        }
    }
    Ok(())
}

fn is_at(origin: &Origin, own: &Ours) -> bool {
    if origin.is_tls != own.is_tls || origin.port != own.address.port() {
        return false;
    }
    let listens = own.address.ip().to_canonical();
    if origin.host.eq_ignore_ascii_case("localhost") {
        return listens.is_loopback() || listens.is_unspecified();
    }
    origin.host.parse().is_ok_and(|asked: IpAddr| {
        let asked = asked.to_canonical();
        // To connect to no address in particular is to connect to this machine.
        asked == listens
            || (listens.is_unspecified() && (asked.is_loopback() || asked.is_unspecified()))
            || (asked.is_unspecified() && listens.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_is_this_process_is_told_from_its_neighbours() {
        for (upstream, listens, is_us) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://127.0.0.1:8080/v1", "127.0.0.1:8080", true),
            ("http://LOCALHOST:8080", "127.0.0.1:8080", true),
            ("http://localhost:8080", "[::1]:8080", true),
            ("http://127.0.0.1:8080", "0.0.0.0:8080", true),
            ("http://127.0.0.7:8080", "[::]:8080", true),
            ("http://0.0.0.0:8080", "127.0.0.1:8080", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://localhost", "127.0.0.1:80", true),
            ("http://127.0.0.1:8081", "127.0.0.1:8080", false),
            ("http://127.0.0.2:8080", "127.0.0.1:8080", false),
            ("https://127.0.0.1:8080", "127.0.0.1:8080", false),
            ("http://10.0.0.1:8080", "0.0.0.0:8080", false),
            ("http://example.com:8080", "0.0.0.0:8080", false),
        ] {
            let own = Ours {
                is_tls: false,
                address: listens.parse().unwrap(),
            };
            let origin: Origin = upstream.parse().unwrap();
            assert_eq!(is_at(&origin, &own), is_us, "{upstream} at {listens}");
        }
    }
}
