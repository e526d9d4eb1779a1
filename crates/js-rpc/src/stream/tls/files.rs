//! The files of certificates and keys: what is in them, and whether they changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{KeyPin, TlsConfig, TlsError, TlsPart};

/// Bytes of a file, 4 MiB: a system's whole list of authorities is a twentieth of it.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Both parts that one side's files allow it to take.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    /// The server's, if there is a certificate to show.
    pub(super) server: Option<Arc<ServerConfig>>,
    /// The client's, if it is said whom to trust.
    pub(super) client: Option<Arc<ClientConfig>>,
}

/// What is in the files.
pub(super) struct Read {
    pub(super) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    pub(super) issuers: Option<Arc<RootCertStore>>,
    pub(super) pins: Vec<KeyPin>,
}

impl Loaded {
    /// Reads all files. The error says which one cannot be used, and why.
    pub(super) fn read(
        config: &TlsConfig,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let of = |part| move |text| TlsError { part, text };
        let read = Read {
            identity: match &config.identity {
                Some(identity) => Some((
                    certificates(&identity.cert).map_err(of(TlsPart::Certificate))?,
                    key(&identity.key).map_err(of(TlsPart::Key))?,
                )),
                None => None,
            },
            issuers: match &config.issuers {
                Some(path) => Some(Arc::new(issuers(path).map_err(of(TlsPart::Issuers))?)),
                None => None,
            },
            pins: config.pins.clone(),
        };
        let at = |error: String| match &config.identity {
            Some(identity) => TlsError {
                part: TlsPart::Certificate,
                text: format!("{}: {error}", identity.cert.display()),
            },
            None => TlsError {
                part: TlsPart::Issuers,
                text: error,
            },
        };
        Ok(Self {
            server: super::server(&read, provider).map_err(at)?.map(Arc::new),
            client: super::client(&read, provider).map_err(at)?.map(Arc::new),
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(path)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!(
            "{} has no certificate in it; it must be a PEM file with BEGIN CERTIFICATE",
            path.display()
        )),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{} is not a PEM file: {error}", path.display())),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&bytes(path)?).map_err(|error| {
        format!(
            "{} has no private key in it ({error}); it must be a PEM file with BEGIN PRIVATE KEY",
            path.display()
        )
    })
}

fn issuers(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|error| format!("{} has an unusable certificate: {error}", path.display()))?;
    }
    Ok(store)
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let read = crate::read_file(path, LONGEST);
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// What changes when a file is replaced or written to. `None`: it is not there.
pub(super) type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// The stamps of all files of a configuration.
pub(super) fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    let identity = config.identity.iter();
    let paths = identity.flat_map(|identity| [&identity.cert, &identity.key]);
    paths.chain(&config.issuers).map(stamp).collect()
}

fn stamp(path: &PathBuf) -> Stamp {
    // Behind a symbolic link, as Kubernetes and certbot make them, it is the target that counts.
    let meta = fs::metadata(path).ok()?;
    let (second, nano) = (meta.mtime(), meta.mtime_nsec());
    Some((meta.dev(), meta.ino(), second, nano, meta.len()))
}
