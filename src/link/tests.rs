use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;
use crate::certificate::tests::OF_VERSION_1;

fn compile(settings: &UpstreamTls, folder: &Path) -> Result<Link, LinkError> {
    Link::compile(settings, HttpVersion::Auto, folder)
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = KeyPair::generate().unwrap();
    let other = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap().pem();
    fs::write(folder.join("cert.pem"), &cert).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.join("other.pem"), other.serialize_pem()).unwrap();
    fs::write(folder.join("both.pem"), cert.clone() + &key.serialize_pem()).unwrap();
    fs::write(folder.join("text"), "hello").unwrap();
    fs::write(
        folder.join("broken.pem"),
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let path = |name: &str| Some(PathBuf::from(name));
    let client = |cert: &str, key: Option<&str>| UpstreamTls {
        client_cert: path(cert),
        client_key: key.map(PathBuf::from),
        ..UpstreamTls::default()
    };
    let ca = |name: &str| UpstreamTls {
        ca: path(name),
        ..UpstreamTls::default()
    };
    for fine in [
        ca("cert.pem"),
        client("cert.pem", Some("key.pem")),
        client("both.pem", None),
    ] {
        compile(&fine, folder).unwrap();
    }
    let named = |name: &str| folder.join(name).display().to_string();
    for (settings, key, what) in [
        (
            ca("gone.pem"),
            "ca",
            format!("can't read `{}`: No such file or directory (os error 2)", named("gone.pem")),
        ),
        (
            ca("text"),
            "ca",
            format!(
                "there is no certificate in `{}`, expected PEM (`-----BEGIN CERTIFICATE-----`)",
                named("text")
            ),
        ),
        (
            ca("broken.pem"),
            "ca",
            format!(
                "certificate 1 in `{}` can't be used as a CA: it is not a certificate that can be read (X.509 version 3)",
                named("broken.pem")
            ),
        ),
        (
            client("cert.pem", None),
            "client_cert",
            format!(
                "there is no private key in `{}`, expected PEM (`-----BEGIN PRIVATE KEY-----`) without a password",
                named("cert.pem")
            ),
        ),
        (
            client("cert.pem", Some("other.pem")),
            "client_key",
            format!(
                "the key in `{}` is not the key of the certificate in `{}`",
                named("other.pem"),
                named("cert.pem")
            ),
        ),
        (
            UpstreamTls {
                client_key: path("key.pem"),
                ..UpstreamTls::default()
            },
            "client_key",
            "a key without its certificate has no effect, expected `client_cert` beside it".to_owned(),
        ),
        (
            UpstreamTls {
                server_name: Some("a b".to_owned()),
                ..UpstreamTls::default()
            },
            "server_name",
            "`a b` is not a name that a certificate can be for, expected a host such as `api.example.com`".to_owned(),
        ),
    ] {
        let error = compile(&settings, folder).unwrap_err();
        assert_eq!((error.key, error.what), (key, what));
    }
}

#[test]
fn a_certificate_of_version_1_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("v1.pem"), OF_VERSION_1).unwrap();
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    let settings = UpstreamTls {
        client_cert: Some("v1.pem".into()),
        client_key: Some("key.pem".into()),
        ..UpstreamTls::default()
    };
    let error = compile(&settings, folder).unwrap_err();
    assert_eq!(error.key, "client_cert");
    assert_eq!(
        error.what,
        format!(
            "`{}` can't be used: it is of X.509 version 1, TLS needs version 3; `openssl x509 -req` makes that with `-extfile`",
            folder.join("v1.pem").display()
        )
    );
}

#[test]
fn links_share_connections_only_where_nothing_differs() {
    let folder = Path::new("");
    let plain = UpstreamTls::default();
    let named = UpstreamTls {
        server_name: Some("a.test".to_owned()),
        ..UpstreamTls::default()
    };
    let id = |settings, http| Link::compile(settings, http, folder).unwrap().id();
    assert_eq!(id(&plain, HttpVersion::Auto), id(&plain, HttpVersion::Auto));
    assert_ne!(
        id(&plain, HttpVersion::Auto),
        id(&plain, HttpVersion::Http1)
    );
    assert_ne!(id(&plain, HttpVersion::Auto), id(&named, HttpVersion::Auto));
}
