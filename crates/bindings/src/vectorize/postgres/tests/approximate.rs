//! The approximate index: made in the background, used, and near enough.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use js_rpc::ClientId;
use serde_json::json;
use tokio_postgres::NoTls;

use super::super::super::backend::Backend;
use super::super::super::filter::{Clause, Filter, Scalar, Test};
use super::super::super::options::Metric;
use super::super::super::vector::{Query, Search, Write};
use super::super::PostgresStore;
use super::server::Server;
use super::{near, options, store, vector, with};

const US: ClientId = ClientId::LOCAL;
const DIMENSIONS: usize = 32;

/// In clusters, as embeddings are.
fn values(random: &mut fastrand::Rng, cluster: u64) -> Vec<f32> {
    let mut middle = fastrand::Rng::with_seed(cluster);
    (0..DIMENSIONS)
        .map(|_| middle.f32() - 0.5 + 0.3 * (random.f32() - 0.5))
        .collect()
}

pub(super) async fn until_indexed(store: &PostgresStore) {
    let end = Instant::now() + Duration::from_secs(60);
    while store.status().indexed == 0 {
        assert!(
            Instant::now() < end,
            "there is no index: {:?}",
            store.status()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_index_is_made_in_the_background_and_finds_nearly_all() {
    for metric in Metric::ALL {
        let database = format!("hnsw_{}", metric.name().replace('-', "_"));
        let mut opened = options(DIMENSIONS, metric);
        opened.exact_below = 800;
        let store = store(&database, &opened).await;
        let mut random = fastrand::Rng::with_seed(7);
        for batch in 0..2 {
            let vectors = (0..1000).map(|n| {
                let n = batch * 1000 + n;
                let cluster = random.u64(..40);
                let of = vector(format!("{n:05}"), &values(&mut random, cluster));
                with(of, None, json!({"half": n % 2, "rare": n % 500 == 0}))
            });
            store
                .write(US, Write::Upsert, vectors.collect())
                .await
                .unwrap();
        }
        let first = store
            .query(US, near(&values(&mut random, 1), 10))
            .await
            .unwrap();
        assert!(first.matches.len() == 10);
        until_indexed(&store).await;
        let filtered = |property: &str, to: Scalar| Filter {
            clauses: vec![Clause {
                path: vec![property.into()],
                test: Test::Equal(to),
            }],
        };
        let half = filtered("half", Scalar::Number(1.0));
        for filter in [None, Some(half)] {
            let (mut same, mut of) = (0, 0);
            for n in 0..40 {
                let to = values(&mut random, n % 40);
                let query = Query {
                    filter: filter.clone(),
                    ..near(&to, 10)
                };
                let found = store.query(US, query.clone()).await.unwrap();
                assert_eq!((found.search, found.scanned), (Search::Index, None));
                let ids: HashSet<_> = found.matches.into_iter().map(|one| one.id).collect();
                let exact = exactly(&store, &query, &to).await;
                same += exact.iter().filter(|id| ids.contains(*id)).count();
                of += exact.len();
            }
            let recall = same as f64 / of as f64;
            println!(
                "{metric}, filter {}: recall@10 {recall:.4}",
                filter.is_some()
            );
            assert!(recall >= 0.95, "{metric}: {recall}");
        }
        // Few candidates are compared all; so are those of a vector without length by cosine.
        let rare = Query {
            filter: Some(filtered("rare", Scalar::Boolean(true))),
            ..near(&values(&mut random, 3), 10)
        };
        let found = store.query(US, rare).await.unwrap();
        assert_eq!(
            (found.search, found.scanned, found.matches.len()),
            (Search::Exact, Some(4), 4)
        );
        if metric == Metric::Cosine {
            let found = store.query(US, near(&[0.0; DIMENSIONS], 10)).await.unwrap();
            assert_eq!(
                (found.search, found.matches[0].id.as_str()),
                (Search::Exact, "00000")
            );
        }
        explain(&store, &database, metric).await;
    }
}

pub(super) async fn exactly(store: &PostgresStore, query: &Query, to: &[f32]) -> Vec<String> {
    let (sql, parameters) = store.shared.exact_sql(query, to, None);
    let client = store.shared.pool.get().await.unwrap();
    let rows = client.query_typed(&sql, &parameters.typed()).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The index is what the one statement goes by, and not the other.
async fn explain(store: &PostgresStore, database: &str, metric: Metric) {
    let (client, connection) = tokio_postgres::connect(&Server::shared().url(database), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let hnsw = store.shared.names.hnsw(store.shared.shape);
    let to = [0.25; DIMENSIONS];
    let query = near(&to, 10);
    let plan = async |sql: String, parameters: super::super::filter::Parameters| {
        let rows = client
            .query_typed(&format!("EXPLAIN {sql}"), &parameters.typed())
            .await
            .unwrap();
        rows.iter()
            .map(|row| row.get::<_, String>(0))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (sql, parameters) = store.shared.exact_sql(&query, &to, None);
    let exact = plan(sql, parameters).await;
    assert!(!exact.contains(&hnsw), "{metric}: {exact}");
    client
        .batch_execute(&store.shared.index_settings(10))
        .await
        .unwrap();
    let (sql, parameters) = store.shared.index_sql(&query, &to);
    let indexed = plan(sql, parameters).await;
    assert!(
        indexed.contains(&format!("Index Scan using {hnsw}")),
        "{metric}: {indexed}"
    );
}

#[tokio::test]
async fn an_index_that_a_crash_left_behind_is_made_again_and_two_callees_make_one() {
    let mut opened = options(DIMENSIONS, Metric::Cosine);
    opened.exact_below = 100;
    let first = store("invalid", &opened).await;
    let hnsw = first.shared.names.hnsw(first.shared.shape);
    let mut random = fastrand::Rng::with_seed(7);
    let vectors = (0..200).map(|n| vector(n.to_string(), &values(&mut random, n % 9)));
    first
        .write(US, Write::Upsert, vectors.collect())
        .await
        .unwrap();
    until_indexed(&first).await;
    first.close().await;
    let server = Server::shared();
    server.psql(
        "invalid",
        &format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{hnsw}'::regclass"),
    );
    let before = server.psql("invalid", &format!("SELECT '{hnsw}'::regclass::oid"));
    let place = super::PostgresOptions::new(server.url("invalid"), "docs");
    let stores = futures::future::join(
        PostgresStore::open(&place, &opened),
        PostgresStore::open(&place, &opened),
    )
    .await;
    let (one, two) = (stores.0.unwrap(), stores.1.unwrap());
    until_indexed(&one).await;
    until_indexed(&two).await;
    let after = server.psql("invalid", &format!("SELECT indexrelid::oid FROM pg_index WHERE indexrelid = '{hnsw}'::regclass AND indisvalid"));
    assert!(!after.is_empty() && after != before);
}
