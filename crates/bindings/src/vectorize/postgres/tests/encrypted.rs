//! TLS, by a proxy in front of the server that negotiates it as PostgreSQL does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::super::options::{PostgresOptions, SslMode};
use super::connections::{PASSWORD, open, with_user};
use super::server::Server;

/// What a client begins with that wants TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Offers {
    /// TLS only.
    Tls,
    /// TLS, for those with a certificate.
    TlsWithCertificate,
    /// TLS, but its handshake fails; also connections without.
    BrokenTls,
    /// No TLS.
    Plain,
}

/// Files of certificates.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let authority = |name: &str| {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ours, other) = (authority("ours"), authority("another"));
        write("ca.pem", ours.pem());
        write("other-ca.pem", other.pem());
        for (name, of) in [("server", "db.test"), ("client", "client.test")] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![of.to_owned()]).unwrap();
            write(
                &format!("{name}.pem"),
                params.signed_by(&key, &ours).unwrap().pem(),
            );
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn server(&self, offers: Offers) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if offers == Offers::TlsWithCertificate {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(self.file("ca.pem")).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_file(self.file("server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }

    /// Its port.
    async fn proxy(&self, offers: Offers) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = self.server(offers);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, offers, acceptor.clone()));
            }
        });
        port
    }
}

async fn serve(mut client: TcpStream, offers: Offers, acceptor: TlsAcceptor) {
    let mut first = [0; 8];
    let Ok(_) = client.read_exact(&mut first).await else {
        return;
    };
    if first != SSL_REQUEST {
        if matches!(offers, Offers::Plain | Offers::BrokenTls) {
            forward(client, &first).await;
        }
        return;
    }
    match offers {
        Offers::Plain => {
            let _ = client.write_all(b"N").await;
            // The client may go on without TLS on the same connection.
            forward(client, &[]).await;
        }
        Offers::BrokenTls => {
            let _ = client.write_all(b"Snot TLS at all").await;
        }
        Offers::Tls | Offers::TlsWithCertificate => {
            let _ = client.write_all(b"S").await;
            if let Ok(client) = acceptor.accept(client).await {
                forward(client, &[]).await;
            }
        }
    }
}

async fn forward(mut client: impl AsyncRead + AsyncWrite + Unpin, first: &[u8]) {
    let mut server = TcpStream::connect(("127.0.0.1", Server::shared().port))
        .await
        .unwrap();
    server.write_all(first).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

fn place(port: u16, host: &str) -> PostgresOptions {
    let url = format!("postgres://encrypted@{host}:{port}/tls?hostaddr=127.0.0.1");
    let mut place = PostgresOptions::new(url, "docs");
    place.password = Some(PASSWORD.into());
    place
}

#[tokio::test]
async fn tls_is_as_libpq_has_it() {
    with_user("tls", "encrypted");
    let files = Certificates::new();
    let (ours, other) = (files.file("ca.pem"), files.file("other-ca.pem"));
    let (good, bad): (Option<&Path>, Option<&Path>) = (Some(&ours), Some(&other));
    let tls = files.proxy(Offers::Tls).await;
    let plain = files.proxy(Offers::Plain).await;
    let broken = files.proxy(Offers::BrokenTls).await;
    for (port, mode, authority, host, expected) in [
        (tls, SslMode::Disable, None, "db.test", "cannot be reached"),
        (tls, SslMode::Prefer, None, "wrong.test", ""),
        (tls, SslMode::Prefer, bad, "wrong.test", ""),
        (tls, SslMode::Require, None, "wrong.test", ""),
        (tls, SslMode::Require, good, "wrong.test", ""),
        (tls, SslMode::Require, bad, "db.test", "UnknownIssuer"),
        (tls, SslMode::VerifyCa, good, "wrong.test", ""),
        (tls, SslMode::VerifyCa, bad, "db.test", "UnknownIssuer"),
        (tls, SslMode::VerifyFull, good, "db.test", ""),
        (
            tls,
            SslMode::VerifyFull,
            good,
            "wrong.test",
            "not valid for name",
        ),
        (tls, SslMode::VerifyFull, bad, "db.test", "UnknownIssuer"),
        (plain, SslMode::Disable, None, "db.test", ""),
        (plain, SslMode::Prefer, None, "db.test", ""),
        (
            plain,
            SslMode::Require,
            None,
            "db.test",
            "does not support TLS",
        ),
        (
            plain,
            SslMode::VerifyFull,
            good,
            "db.test",
            "does not support TLS",
        ),
        (broken, SslMode::Prefer, None, "db.test", ""),
        (broken, SslMode::Require, None, "db.test", "TLS handshake"),
    ] {
        let mut by = place(port, host);
        by.ssl_mode = mode;
        by.ssl_root_cert = authority.map(Path::to_owned);
        let opened = open(&by).await;
        let what = format!("{mode:?} {authority:?} {host}: {opened:?}");
        match expected {
            "" => assert!(opened.is_ok(), "{what}"),
            text => assert!(opened.is_err_and(|error| error.contains(text)), "{what}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown_and_files_that_are_none_are_errors() {
    with_user("tls_certificate", "certified");
    let files = Certificates::new();
    let port = files.proxy(Offers::TlsWithCertificate).await;
    let url = format!("postgres://certified@db.test:{port}/tls_certificate?hostaddr=127.0.0.1");
    let mut by = PostgresOptions::new(url, "docs");
    by.password = Some(PASSWORD.into());
    by.ssl_mode = SslMode::VerifyFull;
    by.ssl_root_cert = Some(files.file("ca.pem"));
    assert!(open(&by).await.is_err());
    by.ssl_identity = Some((files.file("client.pem"), files.file("client.key")));
    open(&by).await.unwrap();
    by.ssl_identity = Some((files.file("client.pem"), files.file("server.key")));
    let error = open(&by).await.unwrap_err();
    assert!(error.contains("cannot be used with the key"), "{error}");
    by.ssl_identity = Some((files.file("client.key"), files.file("client.key")));
    let error = open(&by).await.unwrap_err();
    assert!(error.contains("has no certificate in it"), "{error}");
    by.ssl_root_cert = Some(files.file("none.pem"));
    let error = open(&by).await.unwrap_err();
    assert!(error.contains("none.pem"), "{error}");
}
