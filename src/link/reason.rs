//! What went wrong with TLS, in words, and what to do about it.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::certificate::{VERSION_1, is_of_version_1};

/// In words that fit behind "could not connect to …: ".
pub(crate) fn tls_reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::InvalidMessage(_) => {
            "it does not answer in TLS; if it speaks plain HTTP, its URL begins with `http://`"
                .to_owned()
        }
        Error::AlertReceived(alert) => refused(*alert),
        Error::PeerIncompatible(what) => {
            format!("the TLS handshake failed: it speaks no TLS that we do ({what:?})")
        }
        Error::NoApplicationProtocol => no_protocol(),
        Error::PeerMisbehaved(what) => {
            format!("the TLS handshake failed: it does not keep to TLS ({what:?})")
        }
        error => format!("the TLS handshake failed: {error}"),
    }
}

fn certificate(error: &CertificateError) -> String {
    let not_trusted = "; if it is to be trusted, name a file with its CA in `tls.ca` (`--ca` on the command line)";
    match error {
        CertificateError::UnknownIssuer => {
            format!("its certificate is from an issuer that is not trusted{not_trusted}")
        }
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {}", day(*not_after))
        }
        CertificateError::NotValidYet => "its certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "its certificate is not valid before {}; is the clock of this machine right?",
            day(*not_before)
        ),
        CertificateError::NotValidForName => {
            format!("its certificate is for another name{WRONG_NAME}")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let presented = presented.iter().map(|name| shown(name)).collect::<Vec<_>>();
            let names = if presented.is_empty() {
                "no name".to_owned()
            } else {
                presented.join(", ")
            };
            format!(
                "its certificate is for {names}, not for {}{WRONG_NAME}",
                expected.to_str()
            )
        }
        CertificateError::Revoked => "its certificate was revoked".to_owned(),
        CertificateError::BadSignature => format!(
            "its certificate is not signed by the CA of that name that is trusted{not_trusted}"
        ),
        CertificateError::BadEncoding => {
            "it is not a certificate that can be read (X.509 version 3)".to_owned()
        }
        error if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is a CA's (`CA:TRUE`), which no server may show; make one with `basicConstraints = CA:FALSE`"
                .to_owned()
        }
        error if is_of_version_1(error) => format!("its certificate can't be used: {VERSION_1}"),
        error => format!("its certificate is not acceptable: {error}"),
    }
}

/// The peer ended the handshake.
fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it refused the TLS handshake: it requires a client certificate, `tls.client_cert` and `tls.client_key`".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => format!(
            "it refused the TLS handshake: it does not accept our client certificate, `tls.client_cert` ({alert:?})"
        ),
        AlertDescription::UnrecognisedName => {
            "it refused the TLS handshake: it does not know the name that was asked for; `tls.server_name` sets another".to_owned()
        }
        AlertDescription::NoApplicationProtocol => no_protocol(),
        AlertDescription::HandshakeFailure => {
            "it refused the TLS handshake (HandshakeFailure): it may require a client certificate, `tls.client_cert`, or speak no TLS that we do"
                .to_owned()
        }
        alert => format!("it refused the TLS handshake ({alert:?})"),
    }
}

fn no_protocol() -> String {
    "it does not speak the HTTP that the route asks for; `http = \"auto\"` takes what it offers"
        .to_owned()
}

/// A name out of a certificate, which may be anything; rustls says `DnsName("a.test")`.
fn shown(name: &str) -> String {
    let bare = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(name);
    bare.trim_matches('"')
        .chars()
        .take(MAX_NAME)
        .map(|char| if char.is_control() { '?' } else { char })
        .collect()
}

fn day(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("second {} after 1970", time.as_secs()))
}

const WRONG_NAME: &str =
    "; `tls.server_name` sets the name to expect, `tls.verify = \"no-hostname\"` takes any";

/// In characters.
const MAX_NAME: usize = 80;
