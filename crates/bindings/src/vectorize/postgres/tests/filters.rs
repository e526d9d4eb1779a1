//! Filters against a plain evaluation of what they mean, with and without metadata indexes.

use std::cmp::Ordering;

use js_rpc::ClientId;
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use super::super::super::backend::Backend;
use super::super::super::filter::{Clause, Filter, Scalar, Test};
use super::super::super::options::{MetadataIndex, MetadataType, Metric};
use super::super::super::vector::{Metadata, Query, Vector, Write};
use super::super::filter::{Parameters, condition};
use super::server::Server;
use super::{near, options, store, vector, with};

/// Numbers that random filters and metadata are made of, the same in each run.
struct Random(fastrand::Rng);

impl Random {
    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())].clone()
    }

    fn value(&mut self, depth: u32) -> Value {
        let long = "x".repeat(64);
        match self.0.u32(..if depth > 0 { 9 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.pick(&[true, false])),
            2 => json!(self.pick(&[0.0, -0.0, 1.5, -1e300, 1e-300, 5e-324, 1e16, f64::MAX])),
            3 => self.pick(&[
                json!(0),
                json!(1),
                json!(-7),
                json!(9_007_199_254_740_993_u64),
                json!(u64::MAX),
            ]),
            4 => json!(self.pick(&[
                "",
                "a",
                "b",
                "é",
                "\0",
                "\u{1}",
                "a\0b",
                "1",
                "true",
                "\u{10ffff}",
                "ﬀ"
            ])),
            5 => json!(format!("{long}{}", self.pick(&["", "a", "é"]))),
            6 => json!(self.pick(&["'", "\\", "\"", "$1", "Z", "z"])),
            7 => Value::Array((0..self.0.u32(..3)).map(|_| self.value(0)).collect()),
            _ => Value::Object(self.object(depth - 1)),
        }
    }

    fn object(&mut self, depth: u32) -> Metadata {
        let count = self.0.u32(..5);
        (0..count)
            .map(|_| (self.key(), self.value(depth)))
            .collect()
    }

    fn key(&mut self) -> String {
        self.pick(&["a", "b", "0", "it's", "\\", "é\u{1}"])
            .to_owned()
    }

    fn scalar(&mut self) -> Scalar {
        match self.value(0) {
            Value::Bool(of) => Scalar::Boolean(of),
            Value::Number(of) => Scalar::Number(of.as_f64().unwrap()),
            Value::String(of) => Scalar::String(of),
            _ => Scalar::Null,
        }
    }

    fn filter(&mut self) -> Filter {
        let clauses = (0..self.0.u32(1..3)).map(|_| {
            let path = (0..self.0.u32(1..4)).map(|_| self.key()).collect();
            let several: Vec<_> = (0..self.0.u32(..4)).map(|_| self.scalar()).collect();
            let one = self.scalar();
            let test = match self.0.u32(..8) {
                0 => Test::Equal(one),
                1 => Test::NotEqual(one),
                2 => Test::Less(one),
                3 => Test::LessOrEqual(one),
                4 => Test::Greater(one),
                5 => Test::GreaterOrEqual(one),
                6 => Test::In(several),
                _ => Test::NotIn(several),
            };
            Clause { path, test }
        });
        Filter {
            clauses: clauses.collect(),
        }
    }
}

fn holds(filter: &Filter, metadata: Option<&Metadata>) -> bool {
    filter.clauses.iter().all(|clause| {
        let mut path = clause.path.iter();
        let mut at = metadata.and_then(|of| of.get(path.next()?));
        for part in path {
            at = at.and_then(Value::as_object).and_then(|of| of.get(part));
        }
        let order = |to: &Scalar| match (at, to) {
            (None | Some(Value::Null), Scalar::Null) => Some(Ordering::Equal),
            (Some(Value::Bool(of)), Scalar::Boolean(to)) => of.partial_cmp(to),
            (Some(Value::Number(of)), Scalar::Number(to)) => of.as_f64().unwrap().partial_cmp(to),
            (Some(Value::String(of)), Scalar::String(to)) => {
                of.as_bytes().partial_cmp(to.as_bytes())
            }
            _ => None,
        };
        let equal = |to: &Scalar| order(to) == Some(Ordering::Equal);
        match &clause.test {
            Test::Equal(to) => equal(to),
            Test::NotEqual(to) => !equal(to),
            Test::Less(to) => order(to).is_some_and(Ordering::is_lt),
            Test::LessOrEqual(to) => order(to).is_some_and(Ordering::is_le),
            Test::Greater(to) => order(to).is_some_and(Ordering::is_gt),
            Test::GreaterOrEqual(to) => order(to).is_some_and(Ordering::is_ge),
            Test::In(to) => to.iter().any(equal),
            Test::NotIn(to) => !to.iter().any(equal),
        }
    })
}

fn index(property: &str, kind: MetadataType) -> MetadataIndex {
    MetadataIndex {
        property: property.into(),
        kind,
    }
}

#[tokio::test]
async fn thousands_of_filters_find_what_a_plain_evaluation_finds() {
    let mut opened = options(1, Metric::Euclidean);
    opened.metadata_indexes = vec![
        index("a", MetadataType::String),
        index("b", MetadataType::Number),
        index("b.it's", MetadataType::Boolean),
        index("\\", MetadataType::String),
    ];
    let store = store("filters", &opened).await;
    let mut random = Random(fastrand::Rng::with_seed(13));
    let vectors: Vec<Vector> = (0..400)
        .map(|n| {
            let of = vector(format!("{n:03}"), &[1.0]);
            match n % 20 {
                0 => of,
                _ => with(of, None, Value::Object(random.object(2))),
            }
        })
        .collect();
    store
        .write(ClientId::LOCAL, Write::Insert, vectors.clone())
        .await
        .unwrap();
    let (client, connection) = tokio_postgres::connect(&Server::shared().url("filters"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for settings in ["SET enable_seqscan = on", "SET enable_seqscan = off"] {
        client.batch_execute(settings).await.unwrap();
        let mut found_some = 0;
        // Many filters to a statement.
        for _ in 0..30 {
            let filters: Vec<_> = (0..50).map(|_| random.filter()).collect();
            let mut parameters = Parameters::default();
            let found = filters.iter().enumerate().map(|(n, filter)| {
                let condition = condition(filter, &mut parameters);
                format!(
                    "SELECT {n}, coalesce(string_agg(id, ' ' ORDER BY id), '') FROM public.docs WHERE {condition}"
                )
            });
            let sql = found.collect::<Vec<_>>().join(" UNION ALL ") + " ORDER BY 1";
            let rows = client.query_typed(&sql, &parameters.typed()).await.unwrap();
            for (filter, row) in filters.iter().zip(rows) {
                let expected = vectors
                    .iter()
                    .filter(|of| holds(filter, of.metadata.as_ref()));
                let expected: Vec<_> = expected.map(|of| of.id.as_str()).collect();
                let found: String = row.get(1);
                assert_eq!(found, expected.join(" "), "{filter:?}");
                found_some += usize::from(!expected.is_empty());
            }
        }
        assert!(found_some > 500, "{found_some}");
    }
    // By the store, too.
    for _ in 0..50 {
        let filter = random.filter();
        let expected = vectors
            .iter()
            .filter(|of| holds(&filter, of.metadata.as_ref()))
            .count();
        let query = Query {
            filter: Some(filter),
            ..near(&[1.0], 400)
        };
        let found = store.query(ClientId::LOCAL, query).await.unwrap();
        assert_eq!(
            (found.matches.len(), found.scanned),
            (expected, Some(expected as u64))
        );
    }
}

#[tokio::test]
async fn a_filter_on_an_indexed_property_goes_by_its_index() {
    let mut opened = options(1, Metric::Euclidean);
    opened.metadata_indexes = vec![
        index("kind", MetadataType::String),
        index("author.age", MetadataType::Number),
        index("draft", MetadataType::Boolean),
    ];
    let store = store("filter_indexes", &opened).await;
    for batch in 0..5 {
        let vectors = (0..1000).map(|n| {
            let n = batch * 1000 + n;
            let metadata = json!({"kind": format!("k{n}"), "author": {"age": n}, "draft": n == 7});
            with(vector(n.to_string(), &[1.0]), None, metadata)
        });
        store
            .write(ClientId::LOCAL, Write::Insert, vectors.collect())
            .await
            .unwrap();
    }
    let server = Server::shared();
    server.psql("filter_indexes", "ANALYZE docs");
    let (client, connection) = tokio_postgres::connect(&server.url("filter_indexes"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for (path, test) in [
        (vec!["kind"], Test::Equal(Scalar::String("k77".into()))),
        (
            vec!["kind"],
            Test::In(vec![
                Scalar::String("k1".into()),
                Scalar::String("k2".into()),
            ]),
        ),
        (vec!["author", "age"], Test::Less(Scalar::Number(10.0))),
        (vec!["draft"], Test::Equal(Scalar::Boolean(true))),
    ] {
        let path: Vec<_> = path.into_iter().map(str::to_owned).collect();
        let filter = Filter {
            clauses: vec![Clause { path, test }],
        };
        let query = Query {
            filter: Some(filter),
            ..near(&[1.0], 5)
        };
        let (sql, parameters) = store.shared.exact_sql(&query, &[1.0], None);
        let plan = client
            .query_typed(&format!("EXPLAIN {sql}"), &parameters.typed())
            .await
            .unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(
            plan.contains("on binding_span_") || plan.contains("using binding_span_"),
            "{query:?}\n{plan}"
        );
    }
}
