//! TLS to providers: rustls on ring. TLS 1.2 as well, which not every provider is beyond.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

/// Trusts these authorities, or those of the system. The error is one line for people.
pub(super) fn config(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let roots = match authorities {
        Some(path) => of_file(path)?,
        None => of_system()?,
    };
    trusting(roots)
}

/// For a provider without TLS.
pub(super) fn unused() -> Result<ClientConfig, String> {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |error| format!("cannot read certificates from {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(wrong)? {
        roots
            .add(certificate.map_err(wrong)?)
            .map_err(|error| format!("{} has an unusable certificate: {error}", path.display()))?;
    }
    match roots.is_empty() {
        true => Err(format!(
            "{} has no certificate in it; it must be a PEM file with BEGIN CERTIFICATE",
            path.display()
        )),
        false => Ok(roots),
    }
}

fn of_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(
            "the system trusts no certificate authority; install ca-certificates, or name a file of them"
                .to_owned(),
        ),
        false => Ok(roots),
    }
}
