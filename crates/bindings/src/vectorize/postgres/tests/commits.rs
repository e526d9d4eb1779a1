//! Connections that break while a change is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use js_rpc::ClientId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::super::backend::Backend;
use super::super::super::error::Code;
use super::super::super::options::{Metric, SslMode};
use super::super::super::vector::Write;
use super::super::PostgresStore;
use super::connections::{PASSWORD, place, with_user};
use super::server::Server;
use super::{options, vector};

/// A simple query, as it is sent.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What becomes of the next commit.
const PASSES: u8 = 0;
const IS_LOST: u8 = 1;
const LOSES_ITS_ANSWER: u8 = 2;
const HANGS: u8 = 3;

/// A proxy in front of the server: its port, and what it does with the next commit.
async fn proxy() -> (u16, Arc<AtomicU8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let next = Arc::new(AtomicU8::new(PASSES));
    let fate = next.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, fate.clone()));
        }
    });
    (port, next)
}

async fn forward(mut client: TcpStream, fate: Arc<AtomicU8>) {
    let mut server = TcpStream::connect(("127.0.0.1", Server::shared().port))
        .await
        .unwrap();
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let asked = &asked[..read];
                let commits = asked.windows(COMMIT.len()).any(|part| part == COMMIT);
                let now = if commits { fate.swap(PASSES, Ordering::SeqCst) } else { PASSES };
                if now == IS_LOST {
                    return;
                }
                if server.write_all(asked).await.is_err() {
                    return;
                }
                if now == LOSES_ITS_ANSWER {
                    let _ = server.read(&mut answered).await;
                    return;
                }
                if now == HANGS {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn what_became_of_a_commit_is_looked_up_and_never_guessed() {
    let server = Server::shared();
    with_user("commits", "committer");
    let (port, fate) = proxy().await;
    let mut by = place("committer", "commits", "db.test");
    by.url = by.url.replace(&server.port.to_string(), &port.to_string());
    by.password = Some(PASSWORD.into());
    by.ssl_mode = SslMode::Disable;
    // The one that looks is the only one.
    by.max_connections = 1;
    let mut opened = options(1, Metric::Euclidean);
    opened.timeout = Duration::from_secs(5);
    let store = PostgresStore::open(&by, &opened).await.unwrap();
    let mutations = || {
        server.psql(
            "commits",
            "SELECT count(*) FROM binding_span_vectorize_mutations",
        )
    };
    let stored = || {
        server.psql(
            "commits",
            "SELECT string_agg(id, ' ' ORDER BY id) FROM docs",
        )
    };

    fate.store(IS_LOST, Ordering::SeqCst);
    let write = store
        .write(ClientId::LOCAL, Write::Insert, vec![vector("a", &[1.0])])
        .await
        .unwrap();
    assert_eq!(write.ids, ["a"]);
    assert_eq!((stored().as_str(), mutations().as_str()), ("a", "1"));

    // It was stored: done again, the insert would have found it there already.
    fate.store(LOSES_ITS_ANSWER, Ordering::SeqCst);
    let write = store
        .write(ClientId::LOCAL, Write::Insert, vec![vector("b", &[1.0])])
        .await
        .unwrap();
    assert_eq!(write.ids, ["b"]);
    assert_eq!((stored().as_str(), mutations().as_str()), ("a b", "2"));
    assert_eq!(store.info().await.unwrap().newest.unwrap().0, write.id);
    assert_eq!(store.info().await.unwrap().vectors, 2);

    fate.store(LOSES_ITS_ANSWER, Ordering::SeqCst);
    let delete = store
        .delete(ClientId::LOCAL, vec!["b".into()])
        .await
        .unwrap();
    assert_eq!(delete.ids, ["b"]);

    fate.store(HANGS, Ordering::SeqCst);
    let error = store
        .write(ClientId::LOCAL, Write::Insert, vec![vector("c", &[1.0])])
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Store);
    assert!(error.text.contains("may or may not be stored"), "{error}");
    store.info().await.unwrap();
    assert_eq!(store.status().failing, None);
}
