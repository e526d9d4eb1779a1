//! What failures of TLS mean to people: what is wrong, with which side, and what to do.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};

use super::TlsConfig;
use super::verify::OtherKey;

/// Why our own certificate cannot be used.
pub(super) fn identity(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => {
            "the key is not this certificate's; give the two that belong together".into()
        }
        other => format!("the certificate and its key cannot be used: {other}"),
    }
}

/// Why a handshake failed.
pub(super) fn handshake(error: &io::Error, config: &TlsConfig) -> String {
    match reason(error) {
        Some(Error::InvalidCertificate(wrong)) => certificate(wrong, config),
        Some(error) => said(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection before TLS was set up; is it a tls: address there?"
                .into()
        }
        None => error.to_string(),
    }
}

/// A failure while a connection is used, with the reason if the peer gave one.
pub(super) fn broken(error: io::Error) -> io::Error {
    match reason(&error) {
        Some(said_by_peer) => io::Error::new(error.kind(), said(said_by_peer)),
        None => error,
    }
}

fn reason(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn said(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => {
            "the peer has shown no certificate, and must (--tls-cert and --tls-key there)".into()
        }
        Error::InvalidMessage(_) => {
            "the peer does not speak TLS; is it a tls: address on both sides?".into()
        }
        Error::PeerIncompatible(why) => {
            format!(
                "the peer's TLS and ours have nothing in common, TLS 1.3 is needed: {}",
                words(why)
            )
        }
        Error::AlertReceived(alert) => refused(*alert),
        other => format!("TLS failed: {other}"),
    }
}

/// The peer did not like what we are.
fn refused(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => {
            "it wants a certificate; show one with --tls-cert and --tls-key"
        }
        AlertDescription::CertificateExpired => "our certificate has expired; renew it",
        AlertDescription::UnknownCA => {
            "it does not know who issued our certificate; use one by an issuer that it trusts"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            "our certificate or its key is not one that it admits; its log says why"
        }
        other => return format!("the peer ended TLS: {}", words(&other)),
    };
    format!("the peer refused us: {why}")
}

fn certificate(wrong: &CertificateError, config: &TlsConfig) -> String {
    let why = match wrong {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "expired {} ago; renew it there, or set this machine's clock",
            ago(time.as_secs().saturating_sub(not_after.as_secs()))
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "is not valid for another {}; set this machine's clock, or theirs",
            ago(not_before.as_secs().saturating_sub(time.as_secs()))
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "is not for {} but for {}; connect by a name that it has, or have it issued for this one",
            expected.to_str(),
            match presented.is_empty() {
                true => "no name at all".into(),
                false => names(presented),
            }
        ),
        CertificateError::UnknownIssuer => format!(
            "was not issued by anybody in {}; add its issuer there if you trust it",
            match &config.issuers {
                Some(path) => path.display().to_string(),
                None => "our list".into(),
            }
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "was not issued for this side of a connection; have it issued with the extended key \
             usage serverAuth for who listens, clientAuth for who connects"
                .into()
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<OtherKey>() {
            Some(OtherKey(pin)) => {
                return format!(
                    "the peer's key is not one that is pinned: it is {pin}; if it is the right one, \
                     pin it"
                );
            }
            None if other.0.to_string().contains("CaUsedAsEndEntity") => {
                "is one of an authority; have one issued by it for the side that shows it".into()
            }
            None => format!("cannot be used: {}", words(&other.0)),
        },
        other => format!("cannot be used: {}", words(other)),
    };
    format!("the peer's certificate {why}")
}

/// The names that a certificate has, of which rustls says `DnsName("localhost")`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name
            .split_once('(')
            .and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(plain).collect::<Vec<_>>().join(", ")
}

/// What a library calls something, as words: `HandshakeFailure` is "handshake failure".
fn words(what: &impl std::fmt::Debug) -> String {
    let mut words = String::new();
    for character in format!("{what:?}").chars() {
        match character {
            upper if upper.is_ascii_uppercase() => {
                if words.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
                    words.push(' ');
                }
                words.push(upper.to_ascii_lowercase());
            }
            plain if plain.is_ascii_alphanumeric() => words.push(plain),
            _ if words.is_empty() || words.ends_with(' ') => {}
            _ => words.push(' '),
        }
    }
    words.trim_end().to_owned()
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", Duration::from_secs(seconds).as_secs() / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_libraries_are_words() {
        assert_eq!(
            words(&AlertDescription::HandshakeFailure),
            "handshake failure"
        );
        assert_eq!(words(&CertificateError::BadSignature), "bad signature");
        assert_eq!(words(&Some("A b")), "some a b");
        let presented = [
            "DnsName(\"localhost\")",
            "IpAddress(127.0.0.1)",
            "DirectoryName",
        ];
        let presented = presented.map(str::to_owned);
        assert_eq!(names(&presented), "localhost, 127.0.0.1, DirectoryName");
    }
}
