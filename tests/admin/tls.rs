//! The admin port under TLS, as other machines reach it.

use std::path::Path;
use std::sync::Arc;

use js_rpc::KeyPin;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::certs::{Authority, Files};
use super::http::At;
use super::metrics::until;
use super::util::{self, Daemon, World};

/// A scraper that trusts whom this file names, and shows a certificate if it has one.
fn scraper(ca: &Path, own: Option<&Files>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    Arc::new(match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_file_iter(own.cert()).unwrap();
            let key = PrivateKeyDer::from_pem_file(own.key()).unwrap();
            let chain = chain.map(Result::unwrap).collect();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// A callee whose admin port is under TLS, and where that is.
fn callee(world: &World, own: &Files, more: &[&str]) -> (Daemon, String) {
    let (listen, db) = (world.unix("callee.sock"), world.db());
    let args = [
        "--listen",
        &listen,
        "--d1",
        &db,
        "--admin",
        "tls:127.0.0.1:0",
    ];
    let identity = ["--tls-cert", own.cert(), "--tls-key", own.key()];
    let mut daemon = world.start(util::callee(), &[&args[..], &identity, more].concat());
    let At::Tcp(at) = At::said_by(&mut daemon) else {
        unreachable!("it is TCP");
    };
    let at = at.strip_prefix("tls:").expect("it is under TLS").to_owned();
    (daemon.ready(), at)
}

#[test]
fn a_scraper_with_a_certificate_is_served_and_nobody_else() {
    let world = World::new();
    world.database();
    let folder = world.path(".");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (ca, other_ca) = (ours.write(&folder, "ca"), theirs.write(&folder, "other"));
    let own = ours.issue(&folder, "callee", "localhost");
    let prometheus = ours.issue(&folder, "prometheus", "prometheus");
    let stranger = theirs.issue(&folder, "stranger", "prometheus");
    let issuers = ["--tls-client-ca", ca.to_str().unwrap()];
    let (callee, at) = callee(&world, &own, &issuers);
    let as_who = |ca, own| At::Tls(at.clone(), scraper(ca, own));

    let known = as_who(&ca, Some(&prometheus));
    world
        .query(&world.unix("callee.sock"), "select 1", &[])
        .json();
    assert_eq!(
        known.scrape().sum("binding_span_calls_total", "\"query\""),
        1.0
    );
    assert_eq!(known.get("/readyz").body, "ok\n");

    let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n";
    for (who, other) in [
        ("without a certificate", as_who(&ca, None)),
        ("with another issuer's", as_who(&ca, Some(&stranger))),
        (
            "who trusts another issuer",
            as_who(&other_ca, Some(&prometheus)),
        ),
        ("without TLS", At::Tcp(at.clone())),
    ] {
        assert!(other.try_send(head).is_none(), "one {who} got an answer");
    }
    // What a web page could send is refused here, too.
    let page = known.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://x\r\n");
    assert_eq!(page.status, 403);
    let refused = "binding_span_connections_refused_total";
    until(&known, |now| now.sum(refused, "listener=\"admin\"") == 4.0);
    assert!(callee.stop().success());
}

#[test]
fn a_pinned_key_is_served_whoever_issued_its_certificate() {
    let world = World::new();
    world.database();
    let folder = world.path(".");
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = ours.write(&folder, "ca");
    let own = ours.issue(&folder, "callee", "localhost");
    let pinned = theirs.issue(&folder, "pinned", "prometheus");
    let other = ours.issue(&folder, "other", "prometheus");
    let pin = KeyPin::of_public_key(&pinned.public_key).to_string();
    let (callee, at) = callee(&world, &own, &["--tls-client-pin", &pin]);
    let as_who = |own| At::Tls(at.clone(), scraper(&ca, Some(own)));
    assert_eq!(as_who(&pinned).scrape().value("binding_span_ready"), 1.0);
    let head = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n";
    assert!(as_who(&other).try_send(head).is_none());
    assert!(callee.stop().success());
}
