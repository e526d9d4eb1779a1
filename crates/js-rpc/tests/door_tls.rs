//! TLS over real sockets: who is let in, who is talked to, what is said when not, and renewal.

mod common;
mod door_certs;

use std::path::PathBuf;

use common::{BINDING, SOON, service};
use door_certs::{Authority, Files, Time};
use js_rpc::{
    Address, CallError, ConnectOptions, Connection, Identity, KeyPin, ListenOptions, Listener,
    Server, Tls, TlsConfig, Trust, reply,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A folder with an issuer's certificate and those that it issued.
struct World {
    folder: tempfile::TempDir,
    authority: Authority,
    ca: PathBuf,
    server: Files,
    client: Files,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours");
        Self {
            ca: authority.write(folder.path(), "ca"),
            server: authority.issue(folder.path(), "server", "127.0.0.1"),
            client: authority.issue(folder.path(), "client", "app"),
            authority,
            folder,
        }
    }

    fn issued_by_others(&self, file: &str, subject: &str) -> Files {
        Authority::new("theirs").issue(self.folder.path(), file, subject)
    }

    /// Serves with the server's certificate to those whom `config` admits.
    async fn serve(&self, config: TlsConfig) -> Address {
        serve(&TlsConfig {
            identity: config.identity.clone().or(Some(identity(&self.server))),
            ..config
        })
        .await
    }

    /// Trusts the issuer.
    fn by_issuer(&self) -> TlsConfig {
        TlsConfig {
            issuers: Some(self.ca.clone()),
            ..TlsConfig::default()
        }
    }
}

async fn serve(config: &TlsConfig) -> Address {
    let options = ListenOptions {
        tls: Some(Tls::new(config.clone()).unwrap()),
        ..ListenOptions::default()
    };
    let at = "tls:127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind_with(&at, &options).await.unwrap();
    let at = listener.address().clone();
    let long = "x".repeat(4 << 20);
    let service = service(async move |method: &str, _, _: &_| match method {
        "long" => reply(&long),
        _ => reply(&42),
    });
    let server = Server::new().service(BINDING, service);
    tokio::task::spawn_local(server.serve([listener], std::future::pending()));
    at
}

fn identity(files: &Files) -> Identity {
    Identity {
        cert: files.cert.clone(),
        key: files.key.clone(),
    }
}

fn pin(files: &Files) -> KeyPin {
    KeyPin::of_public_key(&files.public_key)
}

async fn connect(at: &Address, config: TlsConfig) -> Result<Connection, CallError> {
    connect_with(at, Tls::new(config).unwrap()).await
}

async fn connect_with(at: &Address, tls: Tls) -> Result<Connection, CallError> {
    let options = ConnectOptions {
        trust: Trust {
            tls: Some(tls),
            ..Trust::default()
        },
        ..ConnectOptions::default()
    };
    Connection::connect(at, options).await
}

/// Connects and calls.
async fn answer(at: &Address, config: TlsConfig) -> Result<i32, CallError> {
    let connection = connect(at, config).await?;
    let call = connection.binding(BINDING).call("any", ());
    let reply = tokio::time::timeout(SOON, call).await.expect("it ends")?;
    Ok(reply.parse().unwrap())
}

#[track_caller]
fn refused(outcome: Result<i32, CallError>, says: &[&str]) {
    let error = outcome.expect_err("it is refused").to_string();
    for part in says {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_callee_is_known_by_its_issuer_by_its_key_or_by_both() {
    let world = World::new();
    let at = world.serve(TlsConfig::default()).await;
    let both = TlsConfig {
        pins: vec![pin(&world.client), pin(&world.server)],
        ..world.by_issuer()
    };
    let key_alone = TlsConfig {
        pins: vec![pin(&world.server)],
        ..TlsConfig::default()
    };
    for config in [world.by_issuer(), both, key_alone] {
        assert_eq!(answer(&at, config.clone()).await.unwrap(), 42, "{config:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_result_of_megabytes_comes_through() {
    let world = World::new();
    let at = world.serve(TlsConfig::default()).await;
    let connection = connect(&at, world.by_issuer()).await.unwrap();
    let calls = (0..4).map(|_| connection.binding(BINDING).call("long", ()).send());
    for reply in common::all(calls).await {
        assert_eq!(reply.unwrap().parse::<String>().unwrap().len(), 4 << 20);
    }
}

#[tokio::test(flavor = "local")]
async fn a_callee_that_is_not_the_right_one_is_not_talked_to() {
    let world = World::new();
    let folder = world.folder.path();
    let [expired, early] = [Time::Past, Time::Future].map(|time| {
        let name = format!("{time:?}");
        world.authority.issue_at(folder, &name, "127.0.0.1", time)
    });
    let other_name = world.authority.issue(folder, "name", "db.example");
    let other_issuer = world.issued_by_others("issuer", "127.0.0.1");
    for (server, says) in [
        (
            &expired,
            &["certificate expired", "days ago", "renew it"][..],
        ),
        (&early, &["is not valid for another", "clock"]),
        (
            &other_name,
            &["is not for 127.0.0.1", "db.example", "connect by a name"],
        ),
        (&other_issuer, &["was not issued by anybody in", "ca.pem"]),
    ] {
        let at = world
            .serve(TlsConfig {
                identity: Some(identity(server)),
                ..TlsConfig::default()
            })
            .await;
        let outcome = answer(&at, world.by_issuer()).await;
        refused(outcome, &[&[at.to_string().as_str()], says].concat());
        // Its key is pinned: then the rest does not count.
        let by_key = TlsConfig {
            pins: vec![pin(server)],
            ..TlsConfig::default()
        };
        assert_eq!(answer(&at, by_key).await.unwrap(), 42);
    }
    let at = world.serve(TlsConfig::default()).await;
    for issuers in [None, Some(world.ca.clone())] {
        let outcome = answer(
            &at,
            TlsConfig {
                issuers,
                pins: vec![pin(&world.client)],
                ..TlsConfig::default()
            },
        );
        let shown = pin(&world.server).to_string();
        refused(outcome.await, &["not one that is pinned", &shown, "pin it"]);
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_must_show_a_certificate_that_is_admitted() {
    let world = World::new();
    let folder = world.folder.path();
    let stranger = world.issued_by_others("stranger", "app");
    let expired = world.authority.issue_at(folder, "old", "app", Time::Past);
    let by_key = TlsConfig {
        pins: vec![pin(&world.client)],
        ..TlsConfig::default()
    };
    let both = TlsConfig {
        issuers: Some(world.ca.clone()),
        ..by_key.clone()
    };
    let second = world.authority.issue(folder, "second", "app");
    let cases: [(TlsConfig, Option<&Files>, Result<(), &str>); 11] = [
        (world.by_issuer(), Some(&world.client), Ok(())),
        (
            world.by_issuer(),
            None,
            Err("it wants a certificate; show one"),
        ),
        (
            world.by_issuer(),
            Some(&stranger),
            Err("does not know who issued"),
        ),
        (
            world.by_issuer(),
            Some(&expired),
            Err("our certificate has expired"),
        ),
        (world.by_issuer(), Some(&second), Ok(())),
        (by_key.clone(), Some(&world.client), Ok(())),
        (by_key.clone(), Some(&second), Err("not one that it admits")),
        (by_key, None, Err("it wants a certificate; show one")),
        (both.clone(), Some(&world.client), Ok(())),
        (both.clone(), Some(&second), Err("not one that it admits")),
        (both, Some(&stranger), Err("does not know who issued")),
    ];
    for (admits, shows, expected) in cases {
        let at = world.serve(admits.clone()).await;
        let config = TlsConfig {
            identity: shows.map(identity),
            ..world.by_issuer()
        };
        let outcome = answer(&at, config).await;
        println!("{admits:?} {shows:?}: {outcome:?}");
        match expected {
            Ok(()) => assert_eq!(outcome.unwrap(), 42),
            Err(says) => refused(outcome, &["the peer refused us", says]),
        }
    }
}

#[tokio::test(flavor = "local")]
async fn certificates_are_renewed_while_it_runs_and_bad_ones_do_not_count() {
    let world = World::new();
    let folder = world.folder.path();
    let at = world.serve(world.by_issuer()).await;
    let tls = |pins: &[KeyPin]| {
        let config = TlsConfig {
            identity: Some(identity(&world.client)),
            pins: pins.to_vec(),
            ..world.by_issuer()
        };
        Tls::new(config).unwrap()
    };
    let old = pin(&world.server);
    let held = connect_with(&at, tls(&[old])).await.unwrap();

    let renewed = world.authority.issue(folder, "renewed", "127.0.0.1");
    renewed.replace(&world.server);
    let with_new = connect_with(&at, tls(&[pin(&renewed)])).await.unwrap();
    assert!(connect_with(&at, tls(&[old])).await.is_err());
    for connection in [&held, &with_new] {
        connection.binding(BINDING).call("any", ()).await.unwrap();
    }

    // Half of a renewal, then rubbish: what there was stays.
    let next = world.authority.issue(folder, "next", "127.0.0.1");
    std::fs::rename(&next.key, &world.server.key).unwrap();
    connect_with(&at, tls(&[pin(&renewed)])).await.unwrap();
    std::fs::write(&world.server.cert, "nothing").unwrap();
    connect_with(&at, tls(&[pin(&renewed)])).await.unwrap();
    std::fs::rename(&next.cert, &world.server.cert).unwrap();
    connect_with(&at, tls(&[pin(&next)])).await.unwrap();

    // The client's side: the same `Tls` connects with what is in its files.
    let client = tls(&[]);
    connect_with(&at, client.clone()).await.unwrap();
    let stranger = world.issued_by_others("stranger", "app");
    stranger.replace(&world.client);
    let connection = connect_with(&at, client.clone()).await.unwrap();
    assert!(connection.binding(BINDING).call("any", ()).await.is_err());

    // And whom the server admits: another issuer, without a restart.
    let theirs = Authority::new("new issuer");
    theirs.write(folder, "ca");
    let theirs = theirs.issue(folder, "theirs", "app");
    let config = TlsConfig {
        identity: Some(identity(&theirs)),
        issuers: None,
        pins: vec![pin(&next)],
    };
    assert_eq!(answer(&at, config).await.unwrap(), 42);
}

#[tokio::test(flavor = "local")]
async fn what_is_not_tls_is_told_so_and_costs_only_itself() {
    let world = World::new();
    let at = world.serve(TlsConfig::default()).await;
    let Address::Tls { host, port } = at.clone() else {
        panic!("{at}")
    };
    let plain = Address::Tcp { host, port };
    let outcome = Connection::connect(&plain, ConnectOptions::default())
        .await
        .unwrap();
    let outcome = outcome.binding(BINDING).call("any", ());
    assert!(tokio::time::timeout(SOON, outcome).await.unwrap().is_err());
    let Address::Tcp { host, port } = &plain else {
        unreachable!()
    };
    // Silence, rubbish, and half of a handshake.
    let _silent = TcpStream::connect((host.as_str(), *port)).await.unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
    ] {
        let mut stream = TcpStream::connect((host.as_str(), *port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = Vec::new();
        let read = stream.read_to_end(&mut said);
        let _ = tokio::time::timeout(SOON, read).await.expect("it closes");
    }
    assert_eq!(answer(&at, world.by_issuer()).await.unwrap(), 42);

    // And the other way round: a callee without TLS.
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let Address::Tcp { host, port } = listener.address().clone() else {
        unreachable!()
    };
    tokio::task::spawn_local(Server::new().serve([listener], std::future::pending()));
    let outcome = answer(&Address::Tls { host, port }, world.by_issuer()).await;
    refused(outcome, &["tls: address"]);
}

#[tokio::test(flavor = "local")]
async fn files_that_cannot_be_used_are_named() {
    let world = World::new();
    let other = world.authority.issue(world.folder.path(), "other", "x");
    let mixed = Identity {
        cert: world.server.cert.clone(),
        key: other.key.clone(),
    };
    let swapped = Identity {
        cert: world.server.key.clone(),
        key: world.server.cert.clone(),
    };
    let nowhere = Identity {
        cert: "nowhere.pem".into(),
        key: other.key.clone(),
    };
    for (identity, says) in [
        (mixed, "server.pem: the key is not this certificate's"),
        (swapped, "server.key has no certificate in it"),
        (nowhere, "cannot read nowhere.pem"),
    ] {
        // A key is checked against its certificate by both sides.
        for issuers in [None, Some(world.ca.clone())] {
            let config = TlsConfig {
                identity: Some(identity.clone()),
                issuers,
                ..TlsConfig::default()
            };
            let error = Tls::new(config).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
