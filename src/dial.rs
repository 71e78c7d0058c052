//! Opens connections to upstreams: TCP, and TLS on it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::link::{HttpVersion, Link, tls_reason};
use crate::origin::Origin;
use crate::socket::Socket;

/// The HTTP that may be spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    /// HTTP/1.1 and nothing else.
    Http1,
    /// HTTP/2 and nothing else.
    Http2,
    /// What the upstream takes of the two.
    Both,
}

impl Offer {
    /// What is offered to this upstream.
    pub(crate) fn to(origin: &Origin, link: &Link) -> Self {
        match (link.http(), origin.is_tls) {
            (HttpVersion::Http2, _) => Self::Http2,
            (HttpVersion::Auto, true) => Self::Both,
            (HttpVersion::Auto, false) | (HttpVersion::Http1, _) => Self::Http1,
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match self {
            Self::Http1 => vec![h1],
            Self::Http2 => vec![h2],
            Self::Both => vec![h2, h1],
        }
    }
}

/// Opens connections, with one set of the system's TLS roots.
#[derive(Default)]
pub(crate) struct Dialer {
    /// Loaded when they are first needed: it takes 10 to 25 ms.
    roots: OnceLock<RootCertStore>,
}

/// An open connection.
pub(crate) struct Dialed {
    pub(crate) socket: Socket,
    /// Whether HTTP/2 is spoken on it.
    pub(crate) is_http2: bool,
}

/// Why there is no connection.
pub(crate) struct DialError {
    /// In words.
    pub(crate) reason: String,
    /// Whether somebody answered, so that other addresses of the same host are not worth a try.
    pub(crate) was_answered: bool,
}

impl Dialer {
    /// Connects to one address of an upstream.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        origin: &Origin,
        link: &Link,
        offer: Offer,
    ) -> Result<Dialed, DialError> {
        let unreachable = |error: &io::Error| DialError {
            reason: reach_reason(error),
            was_answered: false,
        };
        let tcp = TcpStream::connect(address)
            .await
            .map_err(|error| unreachable(&error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        if !origin.is_tls {
            return Ok(Dialed {
                socket: Socket::plain(tcp),
                is_http2: offer == Offer::Http2,
            });
        }
        self.secure(tcp, origin, link, offer)
            .await
            .map_err(|reason| DialError {
                reason,
                was_answered: true,
            })
    }

    async fn secure(
        &self,
        tcp: TcpStream,
        origin: &Origin,
        link: &Link,
        offer: Offer,
    ) -> Result<Dialed, String> {
        let mut config = (*link.client_config(|| self.roots.get_or_init(system_roots))?).clone();
        config.alpn_protocols = offer.protocols();
        let name = link.server_name(&origin.host)?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .map_err(|error| handshake_reason(&error))?;
        let agreed = tls.get_ref().1.alpn_protocol();
        let is_http2 = agreed == Some(b"h2");
        if offer == Offer::Http2 && !is_http2 {
            return Err(
                "it does not offer HTTP/2 (ALPN), and `http = \"2\"` asks for it".to_owned(),
            );
        }
        Ok(Dialed {
            socket: Socket::tls(tls),
            is_http2,
        })
    }
}

/// The CAs that this system knows.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match rustls_native_certs::load_native_certs() {
        Ok(certificates) => {
            // Some systems have certificates that nobody can use; the others are what counts.
            let (_, unusable) = roots.add_parsable_certificates(certificates);
            if unusable > 0 {
                tracing::debug!(unusable, "left out CA certificates of the system");
            }
        }
        Err(error) => tracing::warn!(%error, "could not read the CA certificates of the system"),
    }
    roots
}

fn reach_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "no route to host".to_owned()
        }
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

fn handshake_reason(error: &io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, error.kind()) {
        (Some(error), _) => tls_reason(error),
        (None, io::ErrorKind::UnexpectedEof) => {
            "it closed the connection in the TLS handshake; is it a port for TLS?".to_owned()
        }
        (None, io::ErrorKind::ConnectionReset) => {
            "it reset the connection in the TLS handshake; is it a port for TLS?".to_owned()
        }
        (None, _) => format!("the TLS handshake failed: {error}"),
    }
}
