//! Whether a peer's certificate counts: by its issuer, by its key, or by both.
//!
//! Issuers are rustls's to judge; what is added is the key. With pins alone the certificate is only the
//! envelope of the key, whose possession the handshake proves.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError};

use super::KeyPin;
use super::files::Read;

/// A key that is not among the pins.
#[derive(Debug, thiserror::Error)]
#[error("its key is {0}")]
pub(super) struct OtherKey(pub(super) KeyPin);

/// Judges the certificates of peers that are `V`s.
#[derive(Debug)]
struct Judge<V: ?Sized> {
    pins: Vec<KeyPin>,
    provider: Arc<CryptoProvider>,
    by_issuer: Option<Arc<V>>,
}

/// Whom a server lets in; `None`: everybody.
pub(super) fn clients(
    read: &Read,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let by_issuer = match &read.issuers {
        Some(issuers) => Some(
            WebPkiClientVerifier::builder_with_provider(Arc::clone(issuers), Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?,
        ),
        None if read.pins.is_empty() => return Ok(None),
        None => None,
    };
    Ok(Some(Arc::new(Judge::<dyn ClientCertVerifier> {
        pins: read.pins.clone(),
        provider: Arc::clone(provider),
        by_issuer,
    })))
}

/// Whom a client talks to; `None`: it is not said.
pub(super) fn servers(
    read: &Read,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ServerCertVerifier>>, String> {
    let by_issuer: Option<Arc<dyn ServerCertVerifier>> = match &read.issuers {
        Some(issuers) => Some(
            WebPkiServerVerifier::builder_with_provider(Arc::clone(issuers), Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?,
        ),
        None if read.pins.is_empty() => return Ok(None),
        None => None,
    };
    Ok(Some(Arc::new(Judge::<dyn ServerCertVerifier> {
        pins: read.pins.clone(),
        provider: Arc::clone(provider),
        by_issuer,
    })))
}

impl<V: ?Sized> Judge<V> {
    fn key(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let pin = KeyPin::of_public_key(&parsed.subject_public_key_info());
        match self.pins.contains(&pin) {
            true => Ok(()),
            false => Err(CertificateError::Other(OtherError(Arc::new(OtherKey(pin)))).into()),
        }
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Judge<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(judge) = &self.by_issuer {
            judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        self.key(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Judge<dyn ClientCertVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.by_issuer {
            Some(judge) => judge.root_hint_subjects(),
            None => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(judge) = &self.by_issuer {
            judge.verify_client_cert(end_entity, intermediates, now)?;
        }
        self.key(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
