//! How a route speaks with its upstream: which HTTP, and under which TLS.
//!
//! The settings are read and checked here, files included; sockets are opened elsewhere.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate::{VERSION_1, is_of_version_1};

pub(crate) use reason::tls_reason;

mod reason;
mod verify;

/// The HTTP that is spoken with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum HttpVersion {
    /// With `https://` the newest that the upstream offers, HTTP/2 or HTTP/1.1; with `http://` HTTP/1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2; with `http://` without being asked whether it is spoken (prior knowledge).
    #[serde(rename = "2")]
    Http2,
}

/// What of an upstream's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// That it comes from a known CA, is valid today, and is for the name of the host.
    #[default]
    Full,
    /// That it comes from a known CA and is valid today; it may be for any name.
    NoHostname,
    /// Nothing: anybody between here and the upstream can read and change everything.
    DangerNone,
}

/// TLS with an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// A file with certificates of CAs (PEM), known besides those of the system.
    pub ca: Option<PathBuf>,
    /// A file with the client's certificate (PEM), with what stands between it and its CA.
    pub client_cert: Option<PathBuf>,
    /// A file with the key of that certificate (PEM). Where it is not set, it stands in the same file.
    pub client_key: Option<PathBuf>,
    /// The name that is asked for, and that the certificate must be for. Default: the upstream's host.
    pub server_name: Option<String>,
    /// What of the upstream's certificate is verified.
    pub verify: Verify,
}

/// What is wrong with the settings, and at which of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct LinkError {
    /// The key below `tls`.
    pub key: &'static str,
    /// In words.
    pub what: String,
}

/// The way to speak with an upstream, with all files read.
#[derive(Debug)]
pub struct Link {
    http: HttpVersion,
    verify: Verify,
    server_name: Option<ServerName<'static>>,
    ca: Vec<CertificateDer<'static>>,
    client: Option<Arc<CertifiedKey>>,
    id: LinkId,
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// What two links have in common that may share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinkId([u8; 32]);

impl Link {
    /// Reads the files; relative ones start at `folder`.
    ///
    /// # Errors
    /// What is wrong, and at which key of the settings.
    pub fn compile(
        settings: &UpstreamTls,
        http: HttpVersion,
        folder: &Path,
    ) -> Result<Self, LinkError> {
        let mut id = blake3::Hasher::new();
        let mut mark = |part: &[u8]| {
            id.update(&part.len().to_be_bytes()).update(part);
        };
        mark(&[http as u8, settings.verify as u8]);
        let ca = match &settings.ca {
            Some(path) => ca("ca", &folder.join(path))?,
            None => Vec::new(),
        };
        for certificate in &ca {
            mark(certificate);
        }
        let client = client(settings, folder)?;
        for certificate in client.iter().flat_map(|client| &client.cert) {
            mark(b"client");
            mark(certificate);
        }
        let server_name = match &settings.server_name {
            Some(name) => Some(server_name(name).map_err(|what| LinkError {
                key: "server_name",
                what,
            })?),
            None => None,
        };
        mark(
            settings
                .server_name
                .as_deref()
                .unwrap_or_default()
                .as_bytes(),
        );
        Ok(Self {
            http,
            verify: settings.verify,
            server_name,
            ca,
            client: client.map(Arc::new),
            id: LinkId(*id.finalize().as_bytes()),
            config: OnceLock::new(),
        })
    }

    /// The HTTP that is spoken.
    pub fn http(&self) -> HttpVersion {
        self.http
    }

    /// What of a certificate is verified.
    pub fn verify(&self) -> Verify {
        self.verify
    }

    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    /// The name to ask for, and to verify: the host's, where no other is set.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, String> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host),
        }
    }

    /// What TLS needs to know, but for the protocols to offer; made once. `system` are the roots of the system, to which
    /// those of the settings are added.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn client_config<'a>(
        &self,
        system: impl FnOnce() -> &'a RootCertStore,
    ) -> Result<Arc<ClientConfig>, String> {
        self.config
            .get_or_init(|| self.make_config(system()).map(Arc::new))
            .clone()
    }

    fn make_config(&self, system: &RootCertStore) -> Result<ClientConfig, String> {
        let mut roots = system.clone();
        for certificate in &self.ca {
            roots
                .add(certificate.clone())
                .map_err(|error| tls_reason(&error))?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = verify::verifier(self.verify, roots, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Ok(match &self.client {
            Some(client) => {
                let client = rustls::sign::SingleCertAndKey::from(Arc::clone(client));
                builder.with_client_cert_resolver(Arc::new(client))
            }
            None => builder.with_no_client_auth(),
        })
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("`{name}` is not a name that a certificate can be for, expected a host such as `api.example.com`"))
}

/// The certificates of a file, of which each can be trusted.
fn ca(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let certificates = certificates(key, path)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|error| LinkError {
            key,
            what: format!(
                "certificate {} in `{}` can't be used as a CA: {}",
                index + 1,
                path.display(),
                tls_reason(&error)
            ),
        })?;
    }
    Ok(certificates)
}

fn client(settings: &UpstreamTls, folder: &Path) -> Result<Option<CertifiedKey>, LinkError> {
    let Some(cert) = &settings.client_cert else {
        return match &settings.client_key {
            Some(_) => Err(LinkError {
                key: "client_key",
                what:
                    "a key without its certificate has no effect, expected `client_cert` beside it"
                        .to_owned(),
            }),
            None => Ok(None),
        };
    };
    let chain = certificates("client_cert", &folder.join(cert))?;
    let (key, path) = match &settings.client_key {
        Some(path) => ("client_key", folder.join(path)),
        None => ("client_cert", folder.join(cert)),
    };
    let pem = read(key, &path)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let what = match error {
            PemError::NoItemsFound => format!(
                "there is no private key in `{}`, expected PEM (`-----BEGIN PRIVATE KEY-----`) without a password",
                path.display()
            ),
            error => malformed(&path, &error),
        };
        LinkError { key, what }
    })?;
    let provider: CryptoProvider = ring::default_provider();
    let cert = folder.join(cert);
    CertifiedKey::from_der(chain, private, &provider)
        .map(Some)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => LinkError {
                key,
                what: format!(
                    "the key in `{}` is not the key of the certificate in `{}`",
                    path.display(),
                    cert.display()
                ),
            },
            rustls::Error::InvalidCertificate(error) if is_of_version_1(&error) => LinkError {
                key: "client_cert",
                what: format!("`{}` can't be used: {VERSION_1}", cert.display()),
            },
            error => LinkError {
                key,
                what: format!("`{}` can't be used: {}", path.display(), tls_reason(&error)),
            },
        })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let pem = read(key, path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| LinkError {
            key,
            what: malformed(path, &error),
        })?;
    if certificates.is_empty() {
        return Err(LinkError {
            key,
            what: format!(
                "there is no certificate in `{}`, expected PEM (`-----BEGIN CERTIFICATE-----`)",
                path.display()
            ),
        });
    }
    Ok(certificates)
}

fn malformed(path: &Path, error: &PemError) -> String {
    format!("`{}` is not PEM: {error:?}", path.display())
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, LinkError> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes));
    let why = match result {
        Ok(_) if bytes.len() as u64 <= FILE_MAX => return Ok(bytes),
        Ok(_) => format!("it is larger than {FILE_MAX} bytes"),
        Err(error) => error.to_string(),
    };
    Err(LinkError {
        key,
        what: format!("can't read `{}`: {why}", path.display()),
    })
}

/// In bytes: several times what the CAs of a system take.
const FILE_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
