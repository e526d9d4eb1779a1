//! Providers under TLS.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};

use super::server::Server;
use super::*;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A certificate authority, and its file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    async fn server(
        &self,
        name: &str,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Server {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Server::tls(config, ANSWER).await
    }
}

#[tokio::test]
async fn tls_1_3_and_1_2_reach_a_server_of_a_known_authority() {
    let authority = Authority::new("ours");
    for version in [&TLS13, &TLS12] {
        let server = authority.server("localhost", version).await;
        let mut options = options(&server);
        options.certificate_authorities = Some(authority.file());
        let answer = answer(&open(options), chat()).await;
        assert_eq!(text(answer.body).await.unwrap(), "hello");
        assert!(server.heard()[0].contains("host: localhost:"));
    }
}

#[tokio::test]
async fn a_server_that_cannot_show_who_it_is_hears_nothing() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let cases = [
        (theirs.server("localhost", &TLS13).await, "UnknownIssuer"),
        (
            ours.server("elsewhere.example", &TLS13).await,
            "not valid for name",
        ),
    ];
    for (server, why) in cases {
        let mut options = options(&server);
        options.certificate_authorities = Some(ours.file());
        options.key = key("planted");
        let error = error(&open(options), chat()).await;
        assert!(matches!(error, UpstreamError::Connect { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(server.heard().is_empty());
    }
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_refused_at_once() {
    let authority = Authority::new("ours");
    let server = authority.server("localhost", &TLS13).await;
    let empty = authority.folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (path, why) in [
        (authority.folder.path().join("nowhere"), "cannot read"),
        (empty, "no certificate"),
    ] {
        let mut options = options(&server);
        options.certificate_authorities = Some(path.clone());
        let error = Provider::open(options).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
