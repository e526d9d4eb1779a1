//! Threads that search and read.
//!
//! A search sees memory, and then reads what it found from the file, which may be further by then. A match counts only
//! if it was not changed since before the search: the numbers of changes grow, `applied` is the newest in memory, and
//! memory is never further than the file. If a match was changed the search begins anew, and after some times with no
//! change let through meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use roaring::RoaringBitmap;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::oneshot;

use super::call::{Ticket, Watch};
use super::core::Core;
use super::error::{Failure, damaged};
use super::schema::values_of;
use super::select::{self, parse};
use crate::vectorize::error::{Code, VectorizeError};
use crate::vectorize::metadata;
use crate::vectorize::options::{MetadataIndex, Metric};
use crate::vectorize::search::Nearby;
use crate::vectorize::vector::{Found, Match, MetadataLevel, Nearest, Query, Search, Vector};

/// Searches of one query until changes wait for it.
const ATTEMPTS: usize = 4;
/// Vectors that are found at most, where many are equally near as the last match. Of more it is not known which ones
/// have the first ids.
const TIES: usize = 8192;

type Reply<T> = oneshot::Sender<Result<T, VectorizeError>>;

/// What is to be read.
pub(super) enum Task {
    Query(Query, Reply<Found>),
    Get(Vec<String>, Reply<Vec<Vector>>),
    Page(Option<String>, usize, Reply<Vec<Vector>>),
}

/// A call on its way.
pub(super) struct Read {
    pub(super) ticket: Arc<Ticket>,
    pub(super) task: Task,
}

pub(super) struct Reader {
    pub(super) core: Arc<Core>,
    pub(super) connection: Connection,
    pub(super) watch: Arc<Watch>,
}

impl Reader {
    pub(super) fn work(self) {
        while let Some(read) = self.core.queue.next_read() {
            if !read.ticket.is_stopped() {
                self.serve(read);
            }
        }
        match self.core.place.is_unmoved() {
            true => drop(self.connection),
            // See the writer.
            false => std::mem::forget(self.connection),
        }
    }

    /// The caller may have gone: then the answer goes nowhere.
    fn serve(&self, read: Read) {
        let ticket = &read.ticket;
        match read.task {
            Task::Query(query, reply) => {
                let _ = reply.send(self.run(ticket, || self.query(&query, ticket)));
            }
            Task::Get(ids, reply) => {
                let _ = reply.send(self.run(ticket, || self.get(&ids)));
            }
            Task::Page(after, count, reply) => {
                let _ = reply.send(self.run(ticket, || self.page(after.as_deref(), count)));
            }
        }
    }

    fn run<T>(
        &self,
        ticket: &Arc<Ticket>,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, VectorizeError> {
        self.core.check_in_place()?;
        let watched = self.watch.during(ticket);
        let result = catch_unwind(AssertUnwindSafe(run));
        drop(watched);
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        match result {
            Ok(result) => result.map_err(|failure| failure.of_call(ticket)),
            // A panic is a bug, and costs its call only.
            Err(_) => Err(VectorizeError::new(Code::Store, "an internal error")),
        }
    }

    /// All that is read within is of one state of the file.
    fn snapshot<T>(&self, read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        self.connection.execute_batch("BEGIN")?;
        let result = read();
        let ended = self.connection.execute_batch("ROLLBACK");
        let result = result?;
        ended?;
        Ok(result)
    }

    fn query(&self, query: &Query, ticket: &Ticket) -> Result<Found, Failure> {
        for attempt in 1.. {
            let quiet = (attempt >= ATTEMPTS).then(|| {
                let commit = self.core.commit.read();
                commit.unwrap_or_else(PoisonError::into_inner)
            });
            let found = self.attempt(query, ticket)?;
            drop(quiet);
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(damaged("a search that does not end"))
    }

    /// Nothing if a match was changed meanwhile.
    fn attempt(&self, query: &Query, ticket: &Ticket) -> Result<Option<Found>, Failure> {
        if let Nearest::To(values) = &query.nearest
            && values.len() != self.core.shape.dimensions
        {
            let text = format!(
                "invalid query vector, expected {} dimensions, and got {} dimensions",
                self.core.shape.dimensions,
                values.len()
            );
            return Err(VectorizeError::new(Code::QueryVector, text).into());
        }
        let seen = self.core.applied.load(Ordering::Acquire);
        let (to, own, among) = self.snapshot(|| {
            let (to, own) = match &query.nearest {
                Nearest::To(values) => (values.clone(), None),
                Nearest::ToId(id) => {
                    let (row, values) = self.target(id)?;
                    (values, Some(row))
                }
            };
            let all = || self.core.all_rows();
            let namespace = query.namespace.as_deref();
            let filter = query.filter.as_ref();
            let among = select::rows(&self.connection, namespace, filter, &all)?;
            Ok((to, own, among))
        })?;
        if among.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(Some(Found {
                matches: Vec::new(),
                scanned: Some(0),
                search: Search::Exact,
            }));
        }
        let nearby = self.nearby(&to, query.top_k, among.as_ref(), own, ticket)?;
        let matches = self.snapshot(|| self.matches(query, nearby.rows, seen))?;
        Ok(matches.map(|matches| Found {
            matches,
            scanned: Some(nearby.scanned),
            search: nearby.search,
        }))
    }

    fn target(&self, id: &str) -> Result<(u32, Vec<f32>), Failure> {
        const FIND: &str =
            "SELECT row, vals FROM vectors JOIN vals USING (row) WHERE vectors.id = ?1";
        let mut find = self.connection.prepare_cached(FIND)?;
        let found = find
            .query_row([id], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()?;
        let Some((row, bytes)) = found else {
            let text = "there is no vector with the id that is to be searched by; insert it first, or search by values";
            return Err(VectorizeError::new(Code::NoSuchVector, text).into());
        };
        Ok((row, self.values(row, &bytes)?))
    }

    fn values(&self, row: u32, bytes: &[u8]) -> Result<Vec<f32>, Failure> {
        let values = values_of(bytes, self.core.shape.dimensions);
        values.ok_or_else(|| damaged(format!("row {row} has values of other dimensions")))
    }

    /// Those nearest and, if there are some equally near as the last of them, these too: the ids tell which of them
    /// are matches.
    fn nearby(
        &self,
        to: &[f32],
        top_k: usize,
        among: Option<&RoaringBitmap>,
        own: Option<u32>,
        ticket: &Ticket,
    ) -> Result<Nearby, Failure> {
        let vectors = &self.core.vectors;
        let cancelled = || ticket.is_stopped();
        let nearby = vectors.nearest(to, top_k, among, &cancelled);
        if ticket.is_stopped() {
            return Err(ticket.timeout().into());
        }
        let (mut rows, search) = (nearby.rows, nearby.search);
        rows.truncate(top_k.max(TIES));
        // An approximate index may miss the vector that is searched by.
        if let Some(own) = own
            && search == Search::Index
            && among.is_none_or(|among| among.contains(own))
            && !rows.iter().any(|(row, _)| *row == own)
        {
            let only = RoaringBitmap::from_iter([own]);
            rows.extend(vectors.nearest(to, 1, Some(&only), &cancelled).rows);
        }
        Ok(Nearby {
            rows,
            scanned: nearby.scanned,
            search,
        })
    }

    fn matches(
        &self,
        query: &Query,
        rows: Vec<(u32, f32)>,
        seen: i64,
    ) -> Result<Option<Vec<Match>>, Failure> {
        const ID: &str = "SELECT id, changed FROM vectors WHERE row = ?1";
        let mut read = self.connection.prepare_cached(ID)?;
        let mut found = Vec::with_capacity(rows.len());
        for (row, score) in rows {
            let id = read
                .query_row([row], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
                })
                .optional()?;
            match id {
                Some((id, changed)) if changed <= seen => found.push((row, score, id)),
                _ => return Ok(None),
            }
        }
        let sign = match self.core.shape.metric {
            Metric::Cosine => -1.0,
            Metric::Euclidean | Metric::DotProduct => 1.0,
        };
        // Adding 0 makes -0 and 0 the same.
        found.sort_by(|(_, a, a_id), (_, b, b_id)| {
            let by_score = (sign * a + 0.0).total_cmp(&(sign * b + 0.0));
            by_score.then_with(|| a_id.as_bytes().cmp(b_id.as_bytes()))
        });
        found.truncate(query.top_k);
        let indexes = match query.metadata {
            MetadataLevel::Indexed => super::schema::indexes(&self.connection)?,
            MetadataLevel::None | MetadataLevel::All => Vec::new(),
        };
        let indexes: Vec<_> = indexes.into_iter().map(|of| of.index).collect();
        let complete = |(row, score, id)| self.complete(query, row, score, id, &indexes);
        let matches: Result<Vec<_>, Failure> = found.into_iter().map(complete).collect();
        matches.map(Some)
    }

    fn complete(
        &self,
        query: &Query,
        row: u32,
        score: f32,
        id: String,
        indexes: &[MetadataIndex],
    ) -> Result<Match, Failure> {
        const READ: &str = "SELECT name, metadata FROM vectors LEFT JOIN namespaces ON namespaces.id = namespace WHERE row = ?1";
        let mut read = self.connection.prepare_cached(READ)?;
        let (namespace, text) = read.query_row([row], |row| {
            Ok((row.get(0)?, row.get::<_, Option<String>>(1)?))
        })?;
        let metadata = match query.metadata {
            MetadataLevel::None => None,
            _ => text.map(|text| parse(row, &text)).transpose()?,
        };
        let metadata = match query.metadata {
            MetadataLevel::Indexed => metadata.and_then(|all| metadata::indexed(&all, indexes)),
            _ => metadata,
        };
        let values = match query.values {
            true => {
                let mut read = self
                    .connection
                    .prepare_cached("SELECT vals FROM vals WHERE row = ?1")?;
                let bytes: Vec<u8> = read.query_row([row], |row| row.get(0))?;
                Some(self.values(row, &bytes)?)
            }
            false => None,
        };
        Ok(Match {
            id,
            score,
            namespace,
            values,
            metadata,
        })
    }

    fn get(&self, ids: &[String]) -> Result<Vec<Vector>, Failure> {
        self.snapshot(|| {
            let sql = format!("{VECTORS} WHERE vectors.id = ?1");
            let mut vectors = Vec::new();
            for id in ids {
                let mut read = self.connection.prepare_cached(&sql)?;
                let mut found = read.query([id])?;
                if let Some(row) = found.next()? {
                    vectors.push(self.vector(row)?);
                }
            }
            Ok(vectors)
        })
    }

    fn page(&self, after: Option<&str>, count: usize) -> Result<Vec<Vector>, Failure> {
        self.snapshot(|| {
            // No id is before the empty text.
            let sql = format!("{VECTORS} WHERE vectors.id > ?1 ORDER BY vectors.id LIMIT ?2");
            let after = after.unwrap_or_default();
            let mut read = self.connection.prepare_cached(&sql)?;
            let mut found = read.query((after, i64::try_from(count).unwrap_or(i64::MAX)))?;
            let mut vectors = Vec::new();
            while let Some(row) = found.next()? {
                vectors.push(self.vector(row)?);
            }
            Ok(vectors)
        })
    }

    fn vector(&self, found: &rusqlite::Row<'_>) -> Result<Vector, Failure> {
        let row: u32 = found.get(0)?;
        let text: Option<String> = found.get(3)?;
        Ok(Vector {
            id: found.get(1)?,
            namespace: found.get(2)?,
            metadata: text.map(|text| parse(row, &text)).transpose()?,
            values: self.values(row, &found.get::<_, Vec<u8>>(4)?)?,
        })
    }
}

const VECTORS: &str = "SELECT vectors.row, vectors.id, name, metadata, vals FROM vectors \
    JOIN vals ON vals.row = vectors.row LEFT JOIN namespaces ON namespaces.id = namespace";
