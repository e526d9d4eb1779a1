//! A call is one transaction: all of its statements, or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use super::bookmark::{self, Clock};
use super::error::QueryError;
use super::open::Session;
use super::options::DatabaseOptions;
use super::outcome::{QueryOutcome, QueryResult};
use super::request::QueryRequest;
use super::statement::{Run, State, Stop};

/// What the connections of one database share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: DatabaseOptions,
    pub(super) clock: Clock,
    /// The row id of the last committed insert, which SQLite knows on the writing connection only.
    pub(super) last_row_id: AtomicI64,
}

/// Runs the call on this connection, from `BEGIN` to `COMMIT`, or to `ROLLBACK` at the first failure.
pub(super) fn run(
    session: &Session,
    shared: &Shared,
    request: &QueryRequest,
    cancelled: &Arc<AtomicBool>,
) -> Result<QueryOutcome, Stop> {
    // Taken before a read begins, so that all it says is in what the read sees.
    let before = shared.clock.tick();
    let results = if request.queries.is_empty() {
        Vec::new()
    } else {
        transaction(session, shared, request, cancelled)?
    };
    let now = if session.writes {
        shared.clock.tick()
    } else {
        before
    };
    Ok(QueryOutcome {
        results,
        bookmark: bookmark::reply_to(request.bookmark.as_deref(), now),
    })
}

fn transaction(
    session: &Session,
    shared: &Shared,
    request: &QueryRequest,
    cancelled: &Arc<AtomicBool>,
) -> Result<Vec<QueryResult>, Stop> {
    let results = statements(session, shared, request, cancelled);
    if results.is_err() {
        roll_back(session);
    }
    // Settings are not part of a transaction. Should restoring them fail, the next call tries again.
    let _ = session.gate.restore_settings(&session.connection);
    results
}

fn statements(
    session: &Session,
    shared: &Shared,
    request: &QueryRequest,
    cancelled: &Arc<AtomicBool>,
) -> Result<Vec<QueryResult>, Stop> {
    let mark = Instant::now();
    // The write lock is taken at once: a read that turns into a write later can find that it lost its turn.
    let begin = if session.writes {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN"
    };
    execute(session, begin)?;
    let options = &shared.options;
    let mut state = State::read(session)?;
    if !session.writes {
        state.last_row_id = shared.last_row_id.load(Ordering::Acquire);
    }
    let mut run = Run {
        session,
        options,
        cancelled,
        wrote: false,
        rows_left: options.max_result_rows,
        bytes_left: options.max_result_bytes,
        state,
        mark,
    };
    let mut results = Vec::with_capacity(request.queries.len());
    for query in &request.queries {
        results.push(run.query(query)?);
    }
    let mark = run.mark;
    execute(session, "COMMIT")?;
    if session.writes {
        shared
            .last_row_id
            .store(session.connection.last_insert_rowid(), Ordering::Release);
    }
    if let Some(last) = results.last_mut() {
        last.meta.duration += mark.elapsed();
    }
    Ok(results)
}

/// Ends whatever transaction is open, so that the next call starts clean.
pub(super) fn roll_back(session: &Session) {
    if !session.connection.is_autocommit() {
        // Its failures leave no transaction behind either: SQLite has then rolled back by itself.
        let _ = execute(session, "ROLLBACK");
    }
}

fn execute(session: &Session, sql: &str) -> Result<(), QueryError> {
    session
        .gate
        .ours(|| session.connection.prepare_cached(sql)?.execute(()))
        .map(drop)
        .map_err(Into::into)
}
