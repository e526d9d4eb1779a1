//! What a store does, in the plainest way: the stores' tests compare them with this.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use js_rpc::ClientId;

use super::backend::{Backend, Status};
use super::error::{Code, VectorizeError};
use super::metadata::indexed;
use super::options::{IndexOptions, Limits, MetadataIndex, Metric, OpenError, Shape};
use super::vector::{
    Found, Info, Match, MetadataLevel, Mutation, Nearest, Query, Search, Vector, Write,
};

/// What stays when a store is closed.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Option<Data>>>);

struct Data {
    shape: Shape,
    indexes: Vec<MetadataIndex>,
    /// In the order of the ids' bytes.
    vectors: BTreeMap<String, Vector>,
    newest: Option<(String, i64)>,
}

/// A store in memory.
pub(super) struct Model {
    disk: Disk,
    limits: Limits,
}

impl Model {
    pub(super) fn open(disk: &Disk, options: &IndexOptions) -> Result<Arc<Self>, OpenError> {
        let mut data = disk.0.lock().unwrap();
        let max = options.limits.max_metadata_indexes;
        let mut properties = BTreeSet::new();
        let distinct = options
            .metadata_indexes
            .iter()
            .all(|index| properties.insert(&index.property));
        if options.metadata_indexes.len() > max || !distinct {
            return Err(OpenError::Options("metadata indexes".into()));
        }
        if data.is_none() {
            if !options.create {
                return Err(OpenError::Missing("there is no index".into()));
            }
            let (Some(dimensions), Some(metric)) = (options.dimensions, options.metric) else {
                return Err(OpenError::Options("dimensions and metric".into()));
            };
            if !(1..=options.limits.max_dimensions).contains(&dimensions) {
                return Err(OpenError::Options("dimensions".into()));
            }
            *data = Some(Data {
                shape: Shape { dimensions, metric },
                indexes: Vec::new(),
                vectors: BTreeMap::new(),
                newest: None,
            });
        }
        let there = data.as_mut().unwrap();
        let (dimensions, metric) = (there.shape.dimensions, there.shape.metric);
        if options
            .dimensions
            .is_some_and(|wanted| wanted != dimensions)
            || options.metric.is_some_and(|wanted| wanted != metric)
        {
            return Err(OpenError::Options("another shape".into()));
        }
        if !options.metadata_indexes.is_empty() {
            there.indexes.clone_from(&options.metadata_indexes);
        }
        Ok(Arc::new(Self {
            disk: disk.clone(),
            limits: options.limits.clone(),
        }))
    }

    fn data(&self) -> MutexGuard<'_, Option<Data>> {
        self.disk.0.lock().unwrap()
    }
}

/// In the metric's terms.
pub(super) fn score(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let score = match metric {
        Metric::Cosine => {
            let length = |of: &[f32]| of.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let lengths = length(a) * length(b);
            match lengths == 0.0 {
                true => 0.0,
                false => (dot / lengths).clamp(-1.0, 1.0),
            }
        }
        Metric::Euclidean => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
        Metric::DotProduct => -dot,
    };
    score.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32 + 0.0
}

fn namespaces(vectors: &BTreeMap<String, Vector>) -> usize {
    let names = vectors.values().filter_map(|of| of.namespace.as_deref());
    names.collect::<BTreeSet<_>>().len()
}

impl Data {
    fn changed(&mut self, ids: Vec<String>) -> Mutation {
        let id = uuid::Uuid::new_v4().to_string();
        self.newest = Some((id.clone(), 0));
        Mutation { id, ids }
    }
}

#[async_trait]
impl Backend for Model {
    async fn info(&self) -> Result<Info, VectorizeError> {
        let data = self.data();
        let data = data.as_ref().unwrap();
        Ok(Info {
            dimensions: data.shape.dimensions,
            metric: data.shape.metric,
            vectors: data.vectors.len() as u64,
            newest: data.newest.clone(),
            metadata_indexes: data.indexes.clone(),
        })
    }

    async fn write(
        &self,
        _: ClientId,
        write: Write,
        vectors: Vec<Vector>,
    ) -> Result<Mutation, VectorizeError> {
        let mut data = self.data();
        let data = data.as_mut().unwrap();
        let mut after = data.vectors.clone();
        let mut ids = Vec::new();
        for vector in vectors {
            if write == Write::Insert && after.contains_key(&vector.id) {
                continue;
            }
            ids.push(vector.id.clone());
            after.insert(vector.id.clone(), vector);
        }
        let more = after.len() > data.vectors.len();
        if more && after.len() as u64 > self.limits.max_vectors {
            return Err(VectorizeError::new(Code::Full, "vectors"));
        }
        let count = namespaces(&after);
        if count > namespaces(&data.vectors) && count > self.limits.max_namespaces {
            return Err(VectorizeError::new(Code::Full, "namespaces"));
        }
        data.vectors = after;
        Ok(data.changed(ids))
    }

    async fn delete(&self, _: ClientId, ids: Vec<String>) -> Result<Mutation, VectorizeError> {
        let mut data = self.data();
        let data = data.as_mut().unwrap();
        let ids = ids.into_iter();
        let ids = ids.filter(|id| data.vectors.remove(id).is_some()).collect();
        Ok(data.changed(ids))
    }

    async fn get(&self, _: ClientId, ids: Vec<String>) -> Result<Vec<Vector>, VectorizeError> {
        let data = self.data();
        let vectors = &data.as_ref().unwrap().vectors;
        Ok(ids
            .iter()
            .filter_map(|id| vectors.get(id).cloned())
            .collect())
    }

    async fn query(&self, _: ClientId, query: Query) -> Result<Found, VectorizeError> {
        let data = self.data();
        let data = data.as_ref().unwrap();
        let to = match &query.nearest {
            Nearest::To(values) => values.clone(),
            Nearest::ToId(id) => match data.vectors.get(id) {
                Some(vector) => vector.values.clone(),
                None => return Err(VectorizeError::new(Code::NoSuchVector, "no such vector")),
            },
        };
        let metric = data.shape.metric;
        let mut matches = Vec::new();
        let mut scanned = 0;
        for vector in data.vectors.values() {
            let in_namespace = query.namespace.is_none() || vector.namespace == query.namespace;
            let filter = query.filter.as_ref();
            if !in_namespace || !filter.is_none_or(|of| of.takes(vector.metadata.as_ref())) {
                continue;
            }
            scanned += 1;
            let metadata = vector.metadata.as_ref();
            matches.push(Match {
                id: vector.id.clone(),
                score: score(metric, &to, &vector.values),
                namespace: vector.namespace.clone(),
                values: query.values.then(|| vector.values.clone()),
                metadata: match query.metadata {
                    MetadataLevel::None => None,
                    MetadataLevel::Indexed => metadata.and_then(|of| indexed(of, &data.indexes)),
                    MetadataLevel::All => metadata.cloned(),
                },
            });
        }
        // Stable: of those equally near by their ids.
        match metric {
            Metric::Cosine => matches.sort_by(|a, b| b.score.total_cmp(&a.score)),
            _ => matches.sort_by(|a, b| a.score.total_cmp(&b.score)),
        }
        matches.truncate(query.top_k);
        Ok(Found {
            matches,
            scanned: Some(scanned),
            search: Search::Exact,
        })
    }

    async fn page(&self, after: Option<&str>, count: usize) -> Result<Vec<Vector>, VectorizeError> {
        let data = self.data();
        let vectors = data.as_ref().unwrap().vectors.values();
        let rest = vectors.filter(|of| after.is_none_or(|after| of.id.as_str() > after));
        Ok(rest.take(count).cloned().collect())
    }

    fn status(&self) -> Status {
        let vectors = self.data().as_ref().unwrap().vectors.len() as u64;
        Status {
            vectors,
            ..Status::default()
        }
    }

    async fn reopen(&self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {}
}
