//! The certificate that a TLS listener shows: two PEM files, read again when they change.
//!
//! Whether they changed is asked at each handshake, which costs a thousand times more than the answer. A new pair that
//! can't be used is warned of, and the old one stays.

use std::fs::{File, metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which certificate a TLS listener shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// A PEM file with the certificate, and after it those of the authorities between it and the root. From the folder
    /// of the configuration.
    pub cert: PathBuf,
    /// A PEM file with the private key of the certificate, not encrypted. From the folder of the configuration.
    pub key: PathBuf,
}

/// Why two files are no certificate to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The file of the certificate, or of the key, can't be read.
    #[error("can't read `{}`: {why}", path.display())]
    Unreadable {
        /// As it was opened.
        path: PathBuf,
        /// Whether it is the file of the key.
        is_key: bool,
        /// What the system said.
        why: String,
    },
    /// There is no certificate in the file.
    #[error("`{}` has no certificate in it, expected PEM with `-----BEGIN CERTIFICATE-----`", .0.display())]
    NoCertificate(PathBuf),
    /// There is one that TLS does not take.
    #[error("the certificate in `{}` can't be used: {VERSION_1}", .0.display())]
    OfVersion1(PathBuf),
    /// There is no key in the file.
    #[error(
        "`{}` has no private key in it that can be read, expected PEM with `-----BEGIN PRIVATE KEY-----`, not encrypted",
        .0.display()
    )]
    NoKey(PathBuf),
    /// The key can't be used.
    #[error("the private key in `{}` can't be used: {why}", path.display())]
    Unusable {
        /// The file of the key.
        path: PathBuf,
        /// What TLS said.
        why: String,
    },
    /// The certificate is one of another key.
    #[error("the private key in `{}` does not belong to the certificate in `{}`", key.display(), cert.display())]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

impl CertificateError {
    /// Whether the file of the key is what is wrong, and not that of the certificate.
    pub fn is_about_key(&self) -> bool {
        match self {
            Self::Unreadable { is_key, .. } => *is_key,
            Self::NoCertificate(_) | Self::OfVersion1(_) => false,
            Self::NoKey(_) | Self::Unusable { .. } | Self::Mismatch { .. } => true,
        }
    }
}

/// A certificate and its key, as they are in two files.
#[derive(Debug)]
pub struct Certificate {
    files: TlsSettings,
    current: ArcSwap<CertifiedKey>,
    /// Of the files that were last read, whether they could be used or not.
    seen: Mutex<Stamps>,
}

impl Certificate {
    /// Reads both files; `folder` is where relative paths start.
    ///
    /// # Errors
    /// Why they can't be used.
    pub fn load(settings: &TlsSettings, folder: &Path) -> Result<Self, CertificateError> {
        let files = TlsSettings {
            cert: folder.join(&settings.cert),
            key: folder.join(&settings.key),
        };
        // Before reading, so that a change in between is seen as one.
        let seen = Stamps::of(&files);
        let current = read(&files)?;
        Ok(Self {
            current: ArcSwap::from_pointee(current),
            seen: Mutex::new(seen),
            files,
        })
    }

    /// How a listener with this certificate speaks TLS: HTTP/2 or HTTP/1.1, as the client likes.
    ///
    /// # Errors
    /// If the library of TLS was built without the versions of it that are in use.
    pub fn server_config(self) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self));
        // Some clients that want HTTP/1.0 ask for it by name.
        config.alpn_protocols = ["h2", "http/1.1", "http/1.0"]
            .map(|name| name.as_bytes().to_vec())
            .to_vec();
        Ok(config)
    }

    /// Reads the files again if they changed.
    fn refresh(&self) {
        let stamps = Stamps::of(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamps {
            return;
        }
        *seen = stamps;
        match read(&self.files) {
            Ok(new) => {
                self.current.store(Arc::new(new));
                tracing::info!(cert = %self.files.cert.display(), "the certificate changed");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate changed and can't be used; the old one stays");
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.refresh();
        Some(self.current.load_full())
    }
}

/// What tells versions of the two files apart; `None` for one that is not there.
#[derive(Debug, PartialEq, Eq)]
struct Stamps([Option<(SystemTime, u64, u64)>; 2]);

impl Stamps {
    fn of(files: &TlsSettings) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        Self([&files.cert, &files.key].map(|path| {
            let metadata = metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        }))
    }
}

fn read(files: &TlsSettings) -> Result<CertifiedKey, CertificateError> {
    let pem = read_file(&files.cert, false)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate(files.cert.clone()));
    }
    let pem = read_file(&files.key, true)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| CertificateError::NoKey(files.key.clone()))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::Mismatch {
                cert: files.cert.clone(),
                key: files.key.clone(),
            }
        }
        rustls::Error::InvalidCertificate(error) if is_of_version_1(&error) => {
            CertificateError::OfVersion1(files.cert.clone())
        }
        rustls::Error::InvalidCertificate(_) => CertificateError::NoCertificate(files.cert.clone()),
        error => CertificateError::Unusable {
            path: files.key.clone(),
            why: error.to_string(),
        },
    })
}

/// Whether a certificate is refused because it is of X.509 version 1, as rustls' verifier says in a text alone.
pub(crate) fn is_of_version_1(error: &rustls::CertificateError) -> bool {
    format!("{error:?}").contains("UnsupportedCertVersion")
}

/// What a certificate of X.509 version 1 is, and how one that TLS takes is made.
pub(crate) const VERSION_1: &str =
    "it is of X.509 version 1, TLS needs version 3; `openssl x509 -req` makes that with `-extfile`";

fn read_file(path: &Path, is_key: bool) -> Result<Vec<u8>, CertificateError> {
    let read = || {
        let mut bytes = Vec::new();
        // A device given by mistake has no end.
        File::open(path)?
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(std::io::Error::other("it is larger than 1 MiB"));
        }
        Ok(bytes)
    };
    read().map_err(|error| CertificateError::Unreadable {
        path: path.to_owned(),
        is_key,
        why: error.to_string(),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// In bytes. Chains and keys have a few thousand.
const MAX_FILE: u64 = 1024 * 1024;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As `openssl x509 -req` makes them, where nothing else is said.
    pub(crate) const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBEzCBuwIUGfJOts3fE3FE1Ba7mHkL4d+WO8QwCgYIKoZIzj0EAwIwDDEKMAgG
A1UEAwwBYTAgFw0yNjEyMDExNzIzMzhaGA8yMTI2MTEwNzE3MjMzOFowDDEKMAgG
A1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJhzkhMghzUPZ3G41im0
dd/Z6ZxT0mF2G4E/a70oeA8qfJ8s7gm0ZuMboc+hefSQikJc1dBivLmCgL9XWZtP
7vAwCgYIKoZIzj0EAwIDRwAwRAIgDoDPO2U3fAXJzJC+OWLy9WfepvejJS7dXgno
t0ShfSUCIEpeTnrE0AK3sPr2UsiMz+KADni/bLMkEfajCkCbuGOV
-----END CERTIFICATE-----
";

    fn make(folder: &Path, name: &str) -> TlsSettings {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        TlsSettings {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
        }
    }

    fn shown(certificate: &Certificate) -> Vec<CertificateDer<'static>> {
        certificate.refresh();
        certificate.current.load().cert.clone()
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let settings = make(dir.path(), "one.test");
        let certificate = Certificate::load(&settings, dir.path()).unwrap();
        let first = shown(&certificate);
        make(dir.path(), "two.test");
        let second = shown(&certificate);
        assert_ne!(first, second);
        std::fs::write(dir.path().join("key.pem"), "half a file").unwrap();
        assert_eq!(shown(&certificate), second);
        std::fs::remove_file(dir.path().join("cert.pem")).unwrap();
        assert_eq!(shown(&certificate), second);
        make(dir.path(), "three.test");
        assert_ne!(shown(&certificate), second);
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file_that_it_is_wrong_with() {
        let dir = tempfile::tempdir().unwrap();
        let settings = make(dir.path(), "one.test");
        let key = std::fs::read(dir.path().join("key.pem")).unwrap();
        let check = |expected: &str, is_about_key: bool| {
            let error = Certificate::load(&settings, dir.path()).unwrap_err();
            let text = error
                .to_string()
                .replace(&format!("{}/", dir.path().display()), "");
            assert_eq!(text, expected);
            assert_eq!(error.is_about_key(), is_about_key, "{text}");
        };
        make(dir.path(), "two.test");
        std::fs::write(dir.path().join("key.pem"), &key).unwrap();
        check(
            "the private key in `key.pem` does not belong to the certificate in `cert.pem`",
            true,
        );
        std::fs::write(dir.path().join("key.pem"), "no key").unwrap();
        check(
            "`key.pem` has no private key in it that can be read, expected PEM with `-----BEGIN PRIVATE KEY-----`, not \
             encrypted",
            true,
        );
        std::fs::write(dir.path().join("key.pem"), &key).unwrap();
        std::fs::write(dir.path().join("cert.pem"), OF_VERSION_1).unwrap();
        check(
            "the certificate in `cert.pem` can't be used: it is of X.509 version 1, TLS needs version 3; `openssl x509 -req` \
             makes that with `-extfile`",
            false,
        );
        std::fs::remove_file(dir.path().join("key.pem")).unwrap();
        check(
            "can't read `key.pem`: No such file or directory (os error 2)",
            true,
        );
        std::fs::write(dir.path().join("cert.pem"), &key).unwrap();
        check(
            "`cert.pem` has no certificate in it, expected PEM with `-----BEGIN CERTIFICATE-----`",
            false,
        );
    }
}
