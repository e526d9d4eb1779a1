//! TLS to receivers: rustls on ring, as everywhere here, and TLS 1.3 alone.

use std::path::Path;
use std::sync::Arc;

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::otel::OtlpProtocol;
use crate::otel::settings::Target;

/// What TLS needs; nothing is read where the address is without. The error is one line for people.
pub(in crate::otel) fn config(target: &Target) -> Result<ClientConfig, String> {
    if target.endpoint.scheme_str() != Some("https") {
        let trusts_nobody = builder()?.with_root_certificates(RootCertStore::empty());
        return Ok(trusts_nobody.with_no_client_auth());
    }
    let roots = match &target.issuers {
        Some(path) => issuers(path)?,
        None => system()?,
    };
    let builder = builder()?.with_root_certificates(roots);
    let config = match &target.identity {
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key_file = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("{} has no private key in it: {error}", key.display()))?;
            builder
                .with_client_auth_cert(chain, key_file)
                .map_err(|error| format!("{}: {error}", certificate.display()))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(config)
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())
}

fn issuers(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{} has an unusable certificate: {error}", path.display()))?;
    }
    Ok(roots)
}

/// The authorities that the system trusts.
fn system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    match roots.is_empty() {
        true => Err(
            "the system trusts no certificate authority; install ca-certificates, or name a file in \
             OTEL_EXPORTER_OTLP_CERTIFICATE"
                .to_owned(),
        ),
        false => Ok(roots),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error| format!("cannot read certificates from {}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(wrong)?;
    match found.is_empty() {
        true => Err(format!(
            "{} has no certificate in it; it must be a PEM file with BEGIN CERTIFICATE",
            path.display()
        )),
        false => Ok(found),
    }
}

/// Connects with or without TLS, as the address says.
pub(super) fn connector(
    tls: ClientConfig,
    protocol: OtlpProtocol,
) -> HttpsConnector<HttpConnector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    match protocol {
        OtlpProtocol::Grpc => builder.enable_http2().wrap_connector(tcp),
        OtlpProtocol::HttpProtobuf => builder.enable_http1().wrap_connector(tcp),
    }
}
