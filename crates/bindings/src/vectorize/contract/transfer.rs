//! From one store to another and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use js_rpc::ClientId;
use serde_json::json;

use super::super::backend::{Backend, Status};
use super::super::transfer::{Progress, compare, copy};
use super::super::vector::{Found, Info, Mutation};
use super::{
    Code, Kind, Metric, Place, Query, Vector, VectorizeError, Write, assert_same, options, vector,
};

const COUNT: usize = 2200;

fn vectors() -> Vec<Vector> {
    let mut random = fastrand::Rng::with_seed(11);
    let mut value = || loop {
        let value = f32::from_bits(random.u32(..));
        if value.is_finite() {
            return value;
        }
    };
    let mut vectors: Vec<Vector> = (0..COUNT)
        .map(|n| {
            let values: Vec<f32> = (0..5).map(|_| value()).collect();
            let mut of = vector(
                format!("{}{n}", ["z", "é", "A", "𝄞", "\u{1}"][n % 5]),
                &values,
            );
            of.namespace = (n % 3 > 0).then(|| format!("n{}", n % 7));
            match n % 4 {
                0 => of,
                1 => of.having(json!({})),
                2 => of.having(
                    json!({"z": n, "a": [1.5, null, {"b": u64::MAX - n as u64}], "é": "\u{1}𝄞"}),
                ),
                _ => of.having(
                    json!({"deep": {"b": -0.0, "a": {"t": true}}, "again": {"b": 1, "a": 2}}),
                ),
            }
        })
        .collect();
    vectors.sort_by(|a, b| a.id.cmp(&b.id));
    vectors
}

/// Fails at a write.
struct Interrupted {
    store: Arc<dyn Backend>,
    left: AtomicUsize,
}

#[async_trait]
impl Backend for Interrupted {
    async fn info(&self) -> Result<Info, VectorizeError> {
        self.store.info().await
    }

    async fn write(
        &self,
        client: ClientId,
        write: Write,
        vectors: Vec<Vector>,
    ) -> Result<Mutation, VectorizeError> {
        let left = |left: usize| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
        {
            Ok(_) => self.store.write(client, write, vectors).await,
            Err(_) => Err(VectorizeError::new(Code::Store, "interrupted")),
        }
    }

    async fn delete(&self, client: ClientId, ids: Vec<String>) -> Result<Mutation, VectorizeError> {
        self.store.delete(client, ids).await
    }

    async fn get(&self, client: ClientId, ids: Vec<String>) -> Result<Vec<Vector>, VectorizeError> {
        self.store.get(client, ids).await
    }

    async fn query(&self, client: ClientId, query: Query) -> Result<Found, VectorizeError> {
        self.store.query(client, query).await
    }

    async fn page(&self, after: Option<&str>, count: usize) -> Result<Vec<Vector>, VectorizeError> {
        self.store.page(after, count).await
    }

    fn status(&self) -> Status {
        self.store.status()
    }

    async fn reopen(&self) -> Result<(), String> {
        self.store.reopen().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

#[tokio::test]
async fn a_file_goes_to_postgres_and_back_bit_by_bit_with_an_interruption() {
    let options = options(5, Metric::DotProduct);
    let places = [Kind::File, Kind::Postgres, Kind::File].map(Place::new);
    let mut stores = Vec::new();
    for place in &places {
        stores.push(place.open(&options).await);
    }
    let vectors = vectors();
    for batch in vectors.chunks(1000) {
        stores[0].upsert(batch.to_vec()).await;
    }
    for pair in stores.windows(2) {
        let (from, to) = (&pair[0].store, &pair[1].store);
        let interrupted = Interrupted {
            store: Arc::clone(to),
            left: AtomicUsize::new(2),
        };
        let mut seen = Vec::new();
        let broken = copy(from.as_ref(), &interrupted, &mut |progress| {
            seen.push(progress)
        })
        .await;
        assert_eq!(broken.unwrap_err().text, "interrupted");
        assert_eq!(seen.len(), 2);
        let some = to.info().await.unwrap().vectors;
        assert!(some > 0 && some < COUNT as u64);
        let half = compare(from.as_ref(), to.as_ref(), 0, &mut |_| ())
            .await
            .unwrap_err();
        assert!(half.text.contains("is missing there"), "{half}");

        let mut seen = Vec::new();
        let copied = copy(from.as_ref(), to.as_ref(), &mut |progress| {
            seen.push(progress)
        })
        .await;
        assert_eq!(copied, Ok(COUNT as u64));
        let count = COUNT as u64;
        assert!(seen.contains(&Progress::Copied(count, count)));
        assert_eq!(seen.last(), Some(&Progress::Compared(count, count)));
    }
    let mut read: Vec<Vector> = Vec::new();
    loop {
        let after = read.last().map(|of| of.id.clone());
        let page = stores[2].store.page(after.as_deref(), 700).await.unwrap();
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_same(&read, &vectors);
}

#[tokio::test]
async fn a_copy_that_differs_is_told_and_nothing_is_deleted() {
    for kind in [Kind::File, Kind::Postgres] {
        let options = options(1, Metric::Euclidean);
        let places = [Kind::Model, kind].map(Place::new);
        let (from, to) = (
            places[0].open(&options).await,
            places[1].open(&options).await,
        );
        let of = |id: &str, value: f32| vector(id, &[value]).having(json!({"a": 1, "b": 2}));
        from.upsert([of("a", 0.0), of("c", 1.0)]).await;
        to.upsert([of("b", 5.0)]).await;
        let copied = copy(from.store.as_ref(), to.store.as_ref(), &mut |_| ())
            .await
            .unwrap_err();
        assert!(
            copied.text.contains("the vector \"b\" is there only"),
            "{copied}"
        );
        assert_eq!(to.count().await, 3);
        to.remove(&["b"]).await;
        let differing = [
            of("a", -0.0),
            vector("a", &[0.0]).having(json!({"b": 2, "a": 1})),
            of("a", 0.0).within("n"),
            vector("a", &[0.0]),
        ];
        let compared =
            async || compare(from.store.as_ref(), to.store.as_ref(), 2, &mut |_| ()).await;
        for other in differing {
            to.upsert([other]).await;
            let text = compared().await.unwrap_err().text;
            assert!(
                text.contains("the vector \"a\" is another one there"),
                "{text}"
            );
        }
        to.upsert([of("a", 0.0)]).await;
        assert_eq!(compared().await, Ok(2));
        to.upsert([of("d", 0.0)]).await;
        assert!(
            compared()
                .await
                .unwrap_err()
                .text
                .contains("\"d\" is there only")
        );
        let place = Place::new(kind);
        let other = place.open(&super::options(1, Metric::Cosine)).await;
        let copied = copy(from.store.as_ref(), other.store.as_ref(), &mut |_| ()).await;
        assert!(copied.unwrap_err().text.contains("cannot be copied"));
    }
}
