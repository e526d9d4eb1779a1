//! TLS as libpq has it, by rustls.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::super::options::{PostgresOptions, SslMode};

/// What of a server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verified {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// The error is one line for people.
pub(super) fn config(options: &PostgresOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verified = match (options.ssl_mode, &options.ssl_root_cert) {
        (SslMode::VerifyFull, _) => Verified::AuthorityAndName,
        (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Verified::Authority,
        _ => Verified::Nothing,
    };
    let inner = match verified {
        Verified::Nothing => None,
        _ => {
            let roots = match &options.ssl_root_cert {
                Some(path) => of_file(path)?,
                None => of_system()?,
            };
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            Some(built.build().map_err(|error| error.to_string())?)
        }
    };
    let verifier = Arc::new(Verifier {
        verified,
        inner,
        provider: provider.clone(),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &options.ssl_identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificates, key)) => {
            let chain = read_certificates(certificates)?;
            let key_of = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("cannot read a key from {}: {error}", key.display()))?;
            builder.with_client_auth_cert(chain, key_of).map_err(|error| {
                let (certificates, key) = (certificates.display(), key.display());
                format!("the certificate of {certificates} cannot be used with the key of {key}: {error}")
            })
        }
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error| format!("cannot read certificates from {}: {error}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(wrong)?;
    match read.is_empty() {
        true => Err(format!(
            "{} has no certificate in it; it must be a PEM file with BEGIN CERTIFICATE",
            path.display()
        )),
        false => Ok(read),
    }
}

fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{} has an unusable certificate: {error}", path.display()))?;
    }
    Ok(roots)
}

fn of_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(
            "the system trusts no certificate authority; install ca-certificates, or name a file with sslrootcert"
                .to_owned(),
        ),
        false => Ok(roots),
    }
}

#[derive(Debug)]
struct Verifier {
    verified: Verified,
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at when everything else is right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verified == Verified::Authority => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
