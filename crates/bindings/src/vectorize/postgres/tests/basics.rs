//! What both stores do, on this one.

use js_rpc::ClientId;
use serde_json::json;

use super::super::super::backend::Backend;
use super::super::super::error::Code;
use super::super::super::options::{
    IndexOptions, MetadataIndex, MetadataType, Metric, OpenError, PostgresOptions,
};
use super::super::super::transfer::{Progress, compare, copy};
use super::super::super::vector::{MetadataLevel, Nearest, Query, Search, Write};
use super::super::PostgresStore;
use super::server::Server;
use super::{near, options, store, vector, with};

const US: ClientId = ClientId::LOCAL;

#[tokio::test]
async fn vectors_are_written_read_and_deleted_whole() {
    let store = store("basics", &options(3, Metric::Euclidean)).await;
    let odd = json!({"z": 1, "a": {"n": 12345678901234567890_u64, "f": 1e300, "t": "\0\u{1}\\\"é"}, "l": [1, null]});
    let first = with(
        vector("b\0", &[1.0, -0.0, f32::MIN_POSITIVE]),
        Some("n\u{1}"),
        odd,
    );
    let second = vector("a", &[0.5, 0.25, 1e-8]);
    let mutation = store
        .write(US, Write::Insert, vec![first.clone(), second.clone()])
        .await
        .unwrap();
    assert_eq!(mutation.ids, ["b\0", "a"]);
    assert_eq!(
        uuid::Uuid::parse_str(&mutation.id)
            .unwrap()
            .get_version_num(),
        4
    );
    let read = store
        .get(US, vec!["a".into(), "none".into(), "b\0".into()])
        .await
        .unwrap();
    assert_eq!(read, [second.clone(), first.clone()]);
    let text = serde_json::to_string(&read[1].metadata).unwrap();
    assert_eq!(text, serde_json::to_string(&first.metadata).unwrap());
    assert!(read[1].values[1].is_sign_negative());

    // An insert leaves alone what there is, an upsert replaces it whole.
    let third = vector("b\0", &[9.0, 9.0, 9.0]);
    let mutation = store
        .write(
            US,
            Write::Insert,
            vec![third.clone(), vector("c", &[0.0; 3])],
        )
        .await
        .unwrap();
    assert_eq!(mutation.ids, ["c"]);
    let mutation = store
        .write(US, Write::Upsert, vec![third.clone()])
        .await
        .unwrap();
    assert_eq!(mutation.ids, ["b\0"]);
    assert_eq!(store.get(US, vec!["b\0".into()]).await.unwrap(), [third]);
    let info = store.info().await.unwrap();
    assert_eq!(
        (info.vectors, info.dimensions, info.metric),
        (3, 3, Metric::Euclidean)
    );
    assert_eq!(info.newest.unwrap().0, mutation.id);

    let mutation = store
        .delete(US, vec!["c".into(), "x".into(), "a".into()])
        .await
        .unwrap();
    assert_eq!(mutation.ids, ["c", "a"]);
    assert_eq!(store.info().await.unwrap().vectors, 1);
    let ids =
        |page: Vec<super::super::super::Vector>| page.into_iter().map(|v| v.id).collect::<Vec<_>>();
    store
        .write(
            US,
            Write::Insert,
            vec![vector("Z", &[0.0; 3]), vector("é", &[0.0; 3])],
        )
        .await
        .unwrap();
    assert_eq!(ids(store.page(None, 2).await.unwrap()), ["Z", "b\0"]);
    assert_eq!(ids(store.page(Some("b\0"), 2).await.unwrap()), ["é"]);
    store.close().await;
}

#[tokio::test]
async fn scores_are_those_of_the_metric_and_ties_are_in_the_order_of_ids() {
    let vectors = || {
        vec![
            vector("far", &[-1.0, 0.0]),
            vector("zero", &[0.0, 0.0]),
            vector("b", &[2.0, 0.0]),
            vector("a", &[1.0, 0.0]),
            vector("up", &[0.0, 3.0]),
        ]
    };
    for (metric, expected) in [
        (
            Metric::Cosine,
            [
                ("a", 1.0),
                ("b", 1.0),
                ("up", 0.0),
                ("zero", 0.0),
                ("far", -1.0),
            ],
        ),
        (
            Metric::Euclidean,
            [
                ("a", 0.0),
                ("b", 1.0),
                ("zero", 1.0),
                ("far", 2.0),
                ("up", 10f32.sqrt()),
            ],
        ),
        (
            Metric::DotProduct,
            [
                ("b", -2.0),
                ("a", -1.0),
                ("up", 0.0),
                ("zero", 0.0),
                ("far", 1.0),
            ],
        ),
    ] {
        let name = format!("scores_{}", metric.name().replace('-', "_"));
        let store = store(&name, &options(2, metric)).await;
        store.write(US, Write::Upsert, vectors()).await.unwrap();
        let found = store.query(US, near(&[1.0, 0.0], 10)).await.unwrap();
        let scores: Vec<_> = found
            .matches
            .iter()
            .map(|one| (one.id.as_str(), one.score))
            .collect();
        assert_eq!(scores, expected, "{metric}");
        assert_eq!((found.search, found.scanned), (Search::Exact, Some(5)));
        assert!(
            found
                .matches
                .iter()
                .all(|one| one.score.to_bits() != (-0f32).to_bits())
        );
        let found = store.query(US, near(&[0.0, 0.0], 1)).await.unwrap();
        assert!(found.matches[0].score.is_finite(), "{metric}");
    }
}

#[tokio::test]
async fn a_query_takes_namespaces_ids_and_what_matches_are_to_have() {
    let mut opened = options(2, Metric::Cosine);
    opened.metadata_indexes = vec![MetadataIndex {
        property: "a.b".into(),
        kind: MetadataType::String,
    }];
    let store = store("queries", &opened).await;
    let long = "é".repeat(40);
    let vectors = vec![
        with(
            vector("1", &[1.0, 0.0]),
            Some("n"),
            json!({"a": {"b": long, "c": 1}}),
        ),
        with(vector("2", &[0.0, 1.0]), Some("n"), json!({"a": {"b": 2}})),
        vector("3", &[1.0, 0.1]),
    ];
    store.write(US, Write::Insert, vectors).await.unwrap();
    let query = Query {
        nearest: Nearest::ToId("1".into()),
        namespace: Some("n".into()),
        values: true,
        metadata: MetadataLevel::Indexed,
        ..near(&[], 5)
    };
    let found = store.query(US, query.clone()).await.unwrap();
    let ids: Vec<_> = found.matches.iter().map(|one| one.id.as_str()).collect();
    assert_eq!((ids, found.scanned), (vec!["1", "2"], Some(2)));
    let first = &found.matches[0];
    assert_eq!(first.values, Some(vec![1.0, 0.0]));
    assert_eq!(first.namespace.as_deref(), Some("n"));
    assert_eq!(json!(first.metadata), json!({"a": {"b": "é".repeat(32)}}));
    assert_eq!(found.matches[1].metadata, None);
    let nobody = Query {
        nearest: Nearest::ToId("x".into()),
        ..query.clone()
    };
    assert_eq!(
        store.query(US, nobody).await.unwrap_err().code,
        Code::NoSuchVector
    );
    let empty = Query {
        namespace: Some("empty".into()),
        ..query
    };
    let found = store.query(US, empty).await.unwrap();
    assert_eq!((found.matches.len(), found.scanned), (0, Some(0)));
}

async fn open(place: &PostgresOptions, wanted: &IndexOptions) -> Result<(), OpenError> {
    PostgresStore::open(place, wanted).await.map(|_| ())
}

#[tokio::test]
async fn what_is_there_is_opened_as_it_is_and_errors_say_what_to_do() {
    let server = Server::shared();
    server.database("opening");
    let place = PostgresOptions::new(server.url("opening"), "docs \"x\"");
    let mut wanted = options(2, Metric::Cosine);
    wanted.create = false;
    assert!(matches!(
        open(&place, &wanted).await,
        Err(OpenError::Missing(_))
    ));
    wanted.create = true;
    open(&place, &wanted).await.unwrap();
    wanted.create = false;
    (wanted.dimensions, wanted.metric) = (None, None);
    let store = PostgresStore::open(&place, &wanted).await.unwrap();
    assert_eq!(store.info().await.unwrap().metric, Metric::Cosine);
    wanted.dimensions = Some(3);
    let error = open(&place, &wanted).await.unwrap_err();
    assert_eq!(
        error,
        OpenError::Options("the index docs \"x\" has 2 dimensions, not 3".into())
    );
    wanted.dimensions = None;
    wanted.metric = Some(Metric::Euclidean);
    assert!(matches!(
        open(&place, &wanted).await,
        Err(OpenError::Options(_))
    ));

    let of = |table: &str| PostgresOptions::new(server.url("opening"), table);
    let wanted = options(2, Metric::Cosine);
    server.psql("opening", "CREATE TABLE other (id text)");
    let error = open(&of("other"), &wanted).await.unwrap_err();
    assert!(
        error.to_string().contains("is no Vectorize index"),
        "{error}"
    );
    let error = open(&of("none.docs"), &wanted).await.unwrap_err();
    assert!(
        error.to_string().contains("CREATE SCHEMA \"none\""),
        "{error}"
    );
    let mut wrong = wanted.clone();
    wrong.dimensions = Some(2000);
    let error = open(&of("large"), &wrong).await.unwrap_err();
    assert!(
        error.to_string().contains("1 to 1536 dimensions"),
        "{error}"
    );

    // A user without rights; no extension, and none that they may create.
    server.database("without");
    server.psql("without", "CREATE ROLE weak LOGIN");
    let weak = |database: &str| PostgresOptions::new(server.url_of("weak", database), "weak");
    let error = open(&weak("without"), &wanted)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("CREATE EXTENSION vector"), "{error}");
    let error = open(&weak("opening"), &wanted)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("permission denied") && error.contains("grant"),
        "{error}"
    );
    let error = open(
        &PostgresOptions::new(server.url("nowhere"), "docs"),
        &wanted,
    )
    .await
    .unwrap_err();
    assert!(
        error.to_string().contains("\"nowhere\" does not exist"),
        "{error}"
    );
    // pgvector may be in a schema that is not on the search path.
    server.database("elsewhere");
    server.psql(
        "elsewhere",
        "CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext",
    );
    let store = PostgresStore::open(
        &PostgresOptions::new(server.url("elsewhere"), "public.docs"),
        &wanted,
    )
    .await
    .unwrap();
    store
        .write(US, Write::Upsert, vec![vector("a", &[1.0, 2.0])])
        .await
        .unwrap();
    assert_eq!(
        store
            .query(US, near(&[1.0, 2.0], 1))
            .await
            .unwrap()
            .matches
            .len(),
        1
    );
}

#[tokio::test]
async fn limits_of_the_index_hold_and_nothing_of_the_batch_is_stored() {
    let mut opened = options(1, Metric::Euclidean);
    opened.limits.max_vectors = 3;
    opened.limits.max_namespaces = 2;
    let store = store("limits", &opened).await;
    let of = |id: &str, namespace| with(vector(id, &[1.0]), namespace, json!(null));
    store
        .write(
            US,
            Write::Insert,
            vec![of("1", Some("a")), of("2", Some("b"))],
        )
        .await
        .unwrap();
    let full = store
        .write(US, Write::Upsert, vec![of("3", Some("c"))])
        .await
        .unwrap_err();
    assert_eq!(full.code, Code::Full);
    let full = store
        .write(US, Write::Insert, vec![of("3", None), of("4", None)])
        .await
        .unwrap_err();
    assert_eq!(full.code, Code::Full);
    assert_eq!(store.info().await.unwrap().vectors, 2);
    // What is replaced takes no place, and a namespace that is empty does not count.
    store
        .write(
            US,
            Write::Upsert,
            vec![of("1", Some("a")), of("2", Some("b")), of("3", None)],
        )
        .await
        .unwrap();
    store.delete(US, vec!["2".into()]).await.unwrap();
    store
        .write(US, Write::Upsert, vec![of("5", Some("c"))])
        .await
        .unwrap();
    assert_eq!(store.info().await.unwrap().vectors, 3);
}

#[tokio::test]
async fn a_copy_is_the_same_bit_by_bit_and_can_be_begun_again() {
    let one = store("copy_from", &options(2, Metric::Cosine)).await;
    let two = store("copy_to", &options(2, Metric::Cosine)).await;
    for batch in 0..3 {
        let vectors = (0..400).map(|n| {
            let n = batch * 400 + n;
            let of = vector(format!("id{n}"), &[n as f32, 1.0 / (n as f32 + 1.0)]);
            with(
                of,
                (n % 2 == 0).then_some("even"),
                json!({"n": n, "z": 1, "a": 2}),
            )
        });
        one.write(US, Write::Insert, vectors.collect())
            .await
            .unwrap();
    }
    let mut steps = Vec::new();
    let copied = copy(&*one, &*two, &mut |step| steps.push(step))
        .await
        .unwrap();
    assert_eq!(copied, 1200);
    assert_eq!(steps[0], Progress::Copied(500, 1200));
    assert_eq!(steps.last(), Some(&Progress::Compared(1200, 1200)));
    assert_eq!(copy(&*one, &*two, &mut |_| {}).await.unwrap(), 1200);

    two.write(US, Write::Upsert, vec![vector("id7", &[7.0, 0.5])])
        .await
        .unwrap();
    let error = compare(&*one, &*two, 0, &mut |_| {}).await.unwrap_err();
    assert!(error.text.contains("\"id7\" is another one"), "{error}");
    two.delete(US, vec!["id7".into()]).await.unwrap();
    let error = compare(&*one, &*two, 0, &mut |_| {}).await.unwrap_err();
    assert!(error.text.contains("\"id7\" is missing"), "{error}");
    two.write(US, Write::Upsert, vec![vector("id7x", &[7.0, 0.5])])
        .await
        .unwrap();
    let error = copy(&*one, &*two, &mut |_| {}).await.unwrap_err();
    assert!(error.text.contains("\"id7x\" is there only"), "{error}");
    let other = store("copy_other", &options(2, Metric::Euclidean)).await;
    assert!(copy(&*one, &*other, &mut |_| {}).await.is_err());
}
