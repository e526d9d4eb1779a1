//! How connections are made: TLS, passwords, and what happens when they are few.

use std::time::{Duration, Instant};

use js_rpc::ClientId;

use super::super::super::backend::Backend;
use super::super::super::error::Code;
use super::super::super::options::{Metric, OpenError, PostgresOptions, SslMode};
use super::super::super::vector::Write;
use super::super::PostgresStore;
use super::super::failure::Failure;
use super::super::store::Lease;
use super::server::Server;
use super::{options, store, vector};
use futures::FutureExt;
use std::sync::Arc;

pub(super) const PASSWORD: &str = "hunter2 é'\\";

/// A database, and a user `name` who owns it.
pub(super) fn with_user(database: &str, user: &str) {
    let server = Server::shared();
    server.database(database);
    let password = PASSWORD.replace('\'', "''");
    let create = format!(
        "CREATE ROLE {user} LOGIN PASSWORD '{password}'; ALTER DATABASE {database} OWNER TO {user}"
    );
    server.psql(database, &create);
    server.psql(database, "CREATE EXTENSION vector");
    server.psql(database, &format!("GRANT ALL ON SCHEMA public TO {user}"));
}

pub(super) fn place(user: &str, database: &str, host: &str) -> PostgresOptions {
    let port = Server::shared().port;
    let url = format!("postgres://{user}@{host}:{port}/{database}?hostaddr=127.0.0.1");
    PostgresOptions::new(url, "docs")
}

pub(super) async fn open(place: &PostgresOptions) -> Result<(), String> {
    let opened = PostgresStore::open(place, &options(2, Metric::Cosine)).await;
    opened.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_password_file_is_read_for_each_connection_and_no_password_is_repeated() {
    let server = Server::shared();
    with_user("rotation", "plain");
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut by = place("plain", "rotation", "db.test");
    by.ssl_mode = SslMode::Disable;
    by.password = Some("not this one".into());
    let error = open(&by).await.unwrap_err();
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(!error.contains("not this one") && !format!("{by:?}").contains("not this one"));
    by.password_file = Some(file.path().to_owned());
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    let store = PostgresStore::open(&by, &options(2, Metric::Cosine))
        .await
        .unwrap();
    server.psql("rotation", "ALTER ROLE plain PASSWORD 'the next one'");
    std::fs::write(file.path(), "the next one\n").unwrap();
    let terminate =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plain'";
    server.psql("rotation", terminate);
    // The pool's connections are gone; new ones have the new password.
    store.info().await.unwrap();
    std::fs::write(file.path(), "an old one").unwrap();
    server.psql("rotation", terminate);
    let error = store.info().await.unwrap_err();
    assert_eq!(error.code, Code::Store);
    assert!(
        error.text.contains("password authentication failed"),
        "{error}"
    );
    assert!(store.status().failing.is_some());
    std::fs::write(file.path(), "the next one").unwrap();
    store.info().await.unwrap();
    assert_eq!(store.status().failing, None);
    std::fs::remove_file(file.path()).unwrap();
    server.psql("rotation", terminate);
    let error = store.info().await.unwrap_err();
    assert!(error.text.contains("cannot read the password"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_at_once() {
    let started = Instant::now();
    let by = PostgresOptions::new("postgres://me@127.0.0.1:1/db", "docs");
    let error = PostgresStore::open(&by, &options(2, Metric::Cosine)).await;
    let Err(OpenError::Store(text)) = error.map(|_| ()) else {
        panic!("it cannot be there");
    };
    assert!(
        text.contains("cannot be reached") && text.contains("refused"),
        "{text}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    // One that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut by = PostgresOptions::new(format!("postgres://me@127.0.0.1:{port}/db"), "docs");
    by.connect_timeout = Duration::from_millis(300);
    let started = Instant::now();
    let error = open(&by).await.unwrap_err();
    assert!(error.contains("no connection within 300ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// How many statements with this text run in a database.
fn running(database: &str, text: &str) -> usize {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state = 'active' \
         AND query LIKE '%{text}%' AND pid <> pg_backend_pid()"
    );
    Server::shared().psql("postgres", &sql).parse().unwrap()
}

async fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < end, "it does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_or_is_dropped_is_cancelled_at_the_server() {
    let mut opened = options(2, Metric::Cosine);
    opened.timeout = Duration::from_millis(500);
    let store = store("slow", &opened).await;
    let shared = &store.shared;
    let sleep = |lease: Arc<Lease>| {
        async move {
            // Longer than the session's own limit, which is not what is tested here.
            lease
                .client()
                .batch_execute("SET statement_timeout = 0")
                .await?;
            lease.client().batch_execute("SELECT pg_sleep(60)").await?;
            Ok::<_, Failure>(())
        }
        .boxed()
    };
    let started = Instant::now();
    let error = shared.read(ClientId::LOCAL, &sleep).await.unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    assert!(started.elapsed() < Duration::from_secs(2));
    until(|| running("slow", "pg_sleep(60)") == 0).await;
    let mut call = Box::pin(shared.read(ClientId::LOCAL, &sleep));
    tokio::select! {
        _ = &mut call => panic!("it takes a minute"),
        () = until(|| running("slow", "pg_sleep(60)") == 1) => {}
    }
    drop(call);
    until(|| running("slow", "pg_sleep(60)") == 0).await;
    // The server's own limit, too.
    let slow = |lease: Arc<Lease>| {
        async move { Ok::<_, Failure>(lease.client().batch_execute("SELECT pg_sleep(60)").await?) }
            .boxed()
    };
    assert_eq!(
        shared.read(ClientId::LOCAL, &slow).await.unwrap_err().code,
        Code::Timeout
    );
    // A write that waits for a lock.
    store
        .write(
            ClientId::LOCAL,
            Write::Upsert,
            vec![vector("a", &[1.0, 2.0])],
        )
        .await
        .unwrap();
    let (client, connection) =
        tokio_postgres::connect(&Server::shared().url("slow"), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("BEGIN; SELECT FROM public.docs FOR UPDATE")
        .await
        .unwrap();
    let blocked = store
        .write(
            ClientId::LOCAL,
            Write::Upsert,
            vec![vector("a", &[3.0, 4.0])],
        )
        .await;
    assert_eq!(blocked.unwrap_err().code, Code::Timeout);
    until(|| running("slow", "INSERT INTO") == 0).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    let read = store.get(ClientId::LOCAL, vec!["a".into()]).await.unwrap();
    assert_eq!(read[0].values, [1.0, 2.0]);
}

#[tokio::test]
async fn a_greedy_client_leaves_places_and_turns_to_others() {
    let server = Server::shared();
    server.database("greedy");
    let mut by = PostgresOptions::new(server.url("greedy"), "docs");
    by.max_connections = 1;
    let mut opened = options(2, Metric::Cosine);
    opened.max_queued = 64;
    let store = PostgresStore::open(&by, &opened).await.unwrap();
    let (greedy, modest) = (ClientId::next(), ClientId::next());
    let calls: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn({
                let store = store.clone();
                async move {
                    let shared = &store.shared;
                    shared
                        .read(greedy, &|lease: Arc<Lease>| {
                            async move {
                                Ok::<_, Failure>(
                                    lease
                                        .client()
                                        .batch_execute("SELECT pg_sleep(0.05)")
                                        .await?,
                                )
                            }
                            .boxed()
                        })
                        .await
                }
            })
        })
        .collect();
    until(|| store.status().waiting > 0).await;
    let started = Instant::now();
    store.get(modest, vec!["a".into()]).await.unwrap();
    // One call of the greedy client at most, not the thirty-two that wait.
    assert!(
        started.elapsed() < Duration::from_millis(800),
        "{:?}",
        started.elapsed()
    );
    let mut refused = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!((error.code, error.code.number()), (Code::Overloaded, 40041));
            refused += 1;
        }
    }
    assert_eq!(refused, 100 - 1 - 32);
    assert_eq!(store.status().connections, 1);
}
