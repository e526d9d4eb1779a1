//! A call is one transaction: all of its statements, or none.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use super::bookmark::{self, Clock};
use super::error::{Full, QueryError};
use super::open::Session;
use super::options::DatabaseOptions;
use super::outcome::{QueryOutcome, QueryResult};
use super::raw;
use super::request::QueryRequest;
use super::statement::{Run, State, Stop};
use super::watch::Control;

/// What the connections of one database share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: DatabaseOptions,
    pub(super) clock: Clock,
    /// The row id of the last committed insert, which SQLite knows on the writing connection only.
    pub(super) last_row_id: AtomicI64,
}

impl Shared {
    pub(super) fn new(options: DatabaseOptions) -> Self {
        Self {
            options,
            clock: Clock::default(),
            last_row_id: AtomicI64::new(0),
        }
    }
}

/// Runs the call on this connection, from `BEGIN` to `COMMIT`, or to `ROLLBACK` at the first failure.
pub(super) fn run(
    session: &Session,
    shared: &Shared,
    request: &QueryRequest,
    control: &Control,
) -> Result<QueryOutcome, Stop> {
    // Taken before a read begins, so that everything up to it is in what the read sees.
    let before = shared.clock.tick();
    let results = if request.queries.is_empty() {
        Vec::new()
    } else {
        transaction(session, shared, request, control)?
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
    control: &Control,
) -> Result<Vec<QueryResult>, Stop> {
    session.check_in_place()?;
    // To roll back takes some memory, too, which the call before may have left none of.
    if !roll_back(session) {
        return Err(QueryError::Internal.into());
    }
    raw::forget_memory_peak();
    session.watch.start(control);
    let results = statements(session, shared, request, control);
    let stopped = session.watch.stopped();
    session.watch.end();
    if results.is_err() {
        roll_back(session);
        session.shrink_log();
    }
    // Settings are not part of a transaction. Should restoring them fail, the next call tries again.
    let _ = session.gate.restore_settings(&session.connection);
    match (stopped, results) {
        (Some(stopped), Err(Stop::Failed(_))) => {
            Err(Stop::Failed(stopped.error(shared.options.timeout)))
        }
        (_, results) => results.map_err(|stop| explain(stop, &shared.options)),
    }
}

/// Which bound it was, where SQLite has but a code.
fn explain(stop: Stop, options: &DatabaseOptions) -> Stop {
    match stop {
        Stop::Failed(QueryError::Sqlite(failure)) if failure.is_out_of_memory() => {
            QueryError::OutOfMemory(raw::memory_limit()).into()
        }
        Stop::Failed(QueryError::Sqlite(failure)) if failure.is_full() => {
            QueryError::Full(Full::Database(options.max_database_bytes)).into()
        }
        other => other,
    }
}

fn statements(
    session: &Session,
    shared: &Shared,
    request: &QueryRequest,
    control: &Control,
) -> Result<Vec<QueryResult>, Stop> {
    let mark = Instant::now();
    let options = &shared.options;
    begin(session, options)?;
    let mut state = State::read(session)?;
    if !session.writes {
        state.last_row_id = shared.last_row_id.load(Ordering::Acquire);
    }
    let mut run = Run {
        session,
        options,
        rows_left: options.max_result_rows,
        bytes_left: options.max_result_bytes,
        names_in_rows: control.names_in_rows,
        state,
        mark,
    };
    let mut results = Vec::with_capacity(request.queries.len());
    for query in &request.queries {
        results.push(run.query(query)?);
    }
    let mark = run.mark;
    if session.writes {
        session.check_in_place()?;
        let commit = control.waiter.commit();
        commit.map_err(|stopped| stopped.error(options.timeout))?;
    }
    session.watch.end();
    execute(session, "COMMIT")?;
    if session.writes {
        control.waiter.committed();
        shared
            .last_row_id
            .store(session.connection.last_insert_rowid(), Ordering::Release);
    }
    if let Some(last) = results.last_mut() {
        last.meta.duration += mark.elapsed();
    }
    Ok(results)
}

fn begin(session: &Session, options: &DatabaseOptions) -> Result<(), QueryError> {
    if !session.writes {
        return execute(session, "BEGIN");
    }
    // SQLite waits for locks without asking the watch.
    let left = session.watch.time_left();
    let wait = left.map_or(options.busy_timeout, |left| left.min(options.busy_timeout));
    session.connection.busy_timeout(wait)?;
    // The write lock is taken at once: a read that turns into a write later can find that it lost its turn.
    execute(session, "BEGIN IMMEDIATE")
}

/// Ends whatever transaction is open, so that the next call starts clean. Whether none is open.
pub(super) fn roll_back(session: &Session) -> bool {
    if !session.connection.is_autocommit() {
        // Most of its failures leave no transaction behind either: SQLite has then rolled back by itself.
        let _ = execute(session, "ROLLBACK");
    }
    session.connection.is_autocommit()
}

/// Has the statements ready that must not fail for want of memory.
pub(super) fn prepare(session: &Session) -> rusqlite::Result<()> {
    session.gate.ours(|| {
        for sql in ["COMMIT", "ROLLBACK"] {
            session.connection.prepare_cached(sql)?;
        }
        Ok(())
    })
}

fn execute(session: &Session, sql: &str) -> Result<(), QueryError> {
    session
        .gate
        .ours(|| session.connection.prepare_cached(sql)?.execute(()))
        .map(drop)
        .map_err(Into::into)
}
