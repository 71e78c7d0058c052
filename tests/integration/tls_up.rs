//! Stories of upstreams behind TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::h2peer::{Peer, answer, handler};
use crate::stage::Stage;

/// A CA, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate and its key.
struct Signed {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    cert_pem: String,
    key_pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            pem: cert.pem(),
            der: cert.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            chain: vec![cert.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// What a server shows, and whose clients it takes.
fn acceptor(signed: Signed, clients: Option<&Authority>, protocols: &[&str]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let mut config = builder.with_single_cert(signed.chain, signed.key).unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A server of HTTP/1.1 behind TLS that answers every request with `h1` and how manyth of its connection it is.
async fn http1(acceptor: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    return;
                };
                for turn in 0.. {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match tls.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nh1 {turn}");
                    tls.write_all(text.as_bytes()).await.unwrap();
                    tls.flush().await.unwrap();
                }
            });
        }
    });
    address
}

async fn http2(acceptor: TlsAcceptor) -> Peer {
    Peer::tls(
        acceptor,
        handler(|_, mut respond, _| async move { answer(&mut respond, "h2") }),
    )
    .await
}

/// A route to an upstream under this name, with these lines.
fn route(host: &str, address: SocketAddr, lines: &str) -> String {
    format!(
        "[[route]]\nupstream = \"https://{host}:{}\"\nmode = \"forward\"\n{lines}\n",
        address.port()
    )
}

async fn ask(config: &str, folder: &Path) -> (u16, String) {
    let stage = Stage::open(config, None, folder).await;
    let answer = stage.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    stage.close().await;
    (answer.status, answer.text())
}

/// That it does not answer, for this reason.
async fn fails(config: &str, folder: &Path, reason: &str) {
    let (status, text) = ask(config, folder).await;
    assert_eq!(status, 502, "{text}");
    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
    let message = message["error"]["message"].as_str().unwrap();
    assert!(message.contains(reason), "{message}\n{reason}");
}

#[tokio::test]
async fn the_newest_http_that_both_speak_is_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("one");
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let tls = format!("tls = {{ ca = {file:?} }}");
    let signed = || ca.sign("localhost", |_| {});
    let both = http2(acceptor(signed(), None, &["h2", "http/1.1"])).await;
    let only_h2 = http2(acceptor(signed(), None, &["h2"])).await;
    let only_h1 = http1(acceptor(signed(), None, &["http/1.1"])).await;
    let unsaid = http1(acceptor(signed(), None, &[])).await;
    for (address, lines, expected) in [
        (both.address, "", "h2"),
        (both.address, "http = \"2\"", "h2"),
        (only_h2.address, "", "h2"),
        (only_h1, "", "h1 0"),
        (only_h1, "http = \"1.1\"", "h1 0"),
        (unsaid, "", "h1 0"),
    ] {
        let config = route("localhost", address, &format!("{tls}\n{lines}"));
        assert_eq!(
            ask(&config, dir.path()).await,
            (200, expected.to_owned()),
            "{config}"
        );
    }
    fails(
        &route("localhost", only_h1, &format!("{tls}\nhttp = \"2\"")),
        dir.path(),
        "it does not speak the HTTP that the route asks for; `http = \"auto\"` takes what it offers",
    )
    .await;
    fails(
        &route("localhost", unsaid, &format!("{tls}\nhttp = \"2\"")),
        dir.path(),
        "it does not offer HTTP/2 (ALPN), and `http = \"2\"` asks for it",
    )
    .await;
}

#[tokio::test]
async fn what_a_certificate_lacks_is_said_and_can_be_waived() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, other) = (Authority::new("one"), Authority::new("two"));
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let trust = format!("ca = {file:?}");
    let right = http1(acceptor(ca.sign("localhost", |_| {}), None, &[])).await;
    let foreign = http1(acceptor(other.sign("localhost", |_| {}), None, &[])).await;
    let named = http1(acceptor(ca.sign("api.test", |_| {}), None, &[])).await;
    let address = http1(acceptor(ca.sign("127.0.0.1", |_| {}), None, &[])).await;
    let expired = ca.sign("localhost", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let expired = http1(acceptor(expired, None, &[])).await;
    let self_signed_ca = ca.sign("localhost", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let self_signed_ca = http1(acceptor(self_signed_ca, None, &[])).await;
    let with = |host: &str, address: SocketAddr, tls: &str| {
        route(host, address, &format!("tls = {{ {tls} }}"))
    };
    for config in [
        with("localhost", right, &trust),
        with("127.0.0.1", address, &trust),
        with(
            "localhost",
            named,
            &format!("{trust}, server_name = \"api.test\""),
        ),
        with(
            "localhost",
            named,
            &format!("{trust}, verify = \"no-hostname\""),
        ),
        with("localhost", foreign, "verify = \"danger-none\""),
        with("localhost", expired, "verify = \"danger-none\""),
        with("localhost", self_signed_ca, "verify = \"danger-none\""),
    ] {
        assert_eq!(
            ask(&config, dir.path()).await,
            (200, "h1 0".to_owned()),
            "{config}"
        );
    }
    for (config, reason) in [
        (
            with("localhost", foreign, &trust),
            "its certificate is from an issuer that is not trusted; if it is to be trusted, name a file with its CA in `tls.ca`",
        ),
        (
            with(
                "localhost",
                foreign,
                &format!("{trust}, verify = \"no-hostname\""),
            ),
            "its certificate is from an issuer that is not trusted",
        ),
        (
            with("localhost", named, &trust),
            "its certificate is for api.test, not for localhost; `tls.server_name` sets the name to expect",
        ),
        (
            with("localhost", expired, &trust),
            "its certificate expired on 2020-01-01T00:00:00Z",
        ),
        (
            with(
                "localhost",
                expired,
                &format!("{trust}, verify = \"no-hostname\""),
            ),
            "its certificate expired on 2020-01-01T00:00:00Z",
        ),
        (
            with("localhost", self_signed_ca, &trust),
            "its certificate is a CA's (`CA:TRUE`), which no server may show",
        ),
    ] {
        fails(&config, dir.path(), reason).await;
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_absence_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, other) = (Authority::new("one"), Authority::new("two"));
    let client = |authority: &Authority| {
        authority.sign("team", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    };
    for (name, text) in [
        ("ca.pem", &ca.pem),
        ("cert.pem", &client(&ca).cert_pem),
        ("wrong.pem", &{
            let wrong = client(&other);
            wrong.cert_pem + &wrong.key_pem
        }),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let mine = client(&ca);
    std::fs::write(dir.path().join("cert.pem"), &mine.cert_pem).unwrap();
    std::fs::write(dir.path().join("key.pem"), &mine.key_pem).unwrap();
    let path = |name: &str| format!("{:?}", dir.path().join(name));
    let trust = format!("ca = {}", path("ca.pem"));
    let h1 = http1(acceptor(ca.sign("localhost", |_| {}), Some(&ca), &[])).await;
    let h2 = http2(acceptor(ca.sign("localhost", |_| {}), Some(&ca), &["h2"])).await;
    for (address, expected) in [(h1, "h1 0"), (h2.address, "h2")] {
        let with = |tls: &str| route("localhost", address, &format!("tls = {{ {trust}{tls} }}"));
        let mine = with(&format!(
            ", client_cert = {}, client_key = {}",
            path("cert.pem"),
            path("key.pem")
        ));
        assert_eq!(ask(&mine, dir.path()).await, (200, expected.to_owned()));
        fails(
            &with(""),
            dir.path(),
            "it requires a client certificate, `tls.client_cert` and `tls.client_key`",
        )
        .await;
        fails(
            &with(&format!(", client_cert = {}", path("wrong.pem"))),
            dir.path(),
            "it does not accept our client certificate, `tls.client_cert`",
        )
        .await;
    }
}

#[tokio::test]
async fn idle_connections_behind_tls_are_used_again_unless_the_settings_differ() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("one");
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let address = http1(acceptor(ca.sign("localhost", |_| {}), None, &[])).await;
    let to = |path: &str, lines: &str| {
        route(
            "localhost",
            address,
            &format!("match = {{ path = \"{path}\" }}\n{lines}"),
        )
    };
    let config = to("/a", &format!("tls = {{ ca = {file:?} }}"))
        + &to("/b", &format!("tls = {{ ca = {file:?} }}"))
        + &to("/c", "tls = { verify = \"danger-none\" }");
    let stage = Stage::open(&config, None, dir.path()).await;
    let mut seen = Vec::new();
    for path in ["/a", "/a", "/b", "/c", "/c", "/a"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = stage.ask(&request).await;
        seen.push(answer.text());
    }
    assert_eq!(seen, ["h1 0", "h1 1", "h1 2", "h1 0", "h1 1", "h1 3"]);
    stage.close().await;
}

#[tokio::test]
async fn what_does_not_speak_tls_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let babbler = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
            let mut rest = Vec::new();
            drop(tcp.read_to_end(&mut rest).await);
        }
    });
    fails(
        &route("localhost", babbler, ""),
        dir.path(),
        "it does not answer in TLS; if it speaks plain HTTP, its URL begins with `http://`",
    )
    .await;
    let closer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closer.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = closer.accept().await.unwrap();
            let mut hello = [0; 5];
            tcp.read_exact(&mut hello).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut rest = vec![0; 65_536];
            drop(tcp.try_read(&mut rest));
        }
    });
    fails(
        &route("localhost", address, ""),
        dir.path(),
        "the connection in the TLS handshake; is it a port for TLS?",
    )
    .await;
}
