//! Running one `{sql, params}` of a call, inside the call's transaction.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::cell::{Cell, OVERHEAD};
use super::error::QueryError;
use super::meta::Meta;
use super::open::Session;
use super::options::DatabaseOptions;
use super::outcome::QueryResult;
use super::params::Param;
use super::raw::{self, Statement};
use super::request::Query;
use super::text;
use super::watch::Stopped;

/// Why a call stopped before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// It writes, and this connection does not.
    NeedsWriter,
    Failed(QueryError),
}

impl<E: Into<QueryError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A call that is being run on a connection.
pub(super) struct Run<'a> {
    pub(super) session: &'a Session,
    pub(super) options: &'a DatabaseOptions,
    pub(super) cancelled: &'a Arc<AtomicBool>,
    /// Whether a statement that writes has run. From then on the call is not given up.
    pub(super) wrote: bool,
    pub(super) rows_left: usize,
    pub(super) bytes_left: usize,
    pub(super) state: State,
    /// When the last statement ended, or the call began.
    pub(super) mark: Instant,
}

/// What `meta` compares before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) total_changes: u64,
    pub(super) last_row_id: i64,
    schema: i64,
    size: u64,
}

impl State {
    pub(super) fn read(session: &Session) -> rusqlite::Result<Self> {
        let connection = &session.connection;
        let number = |sql: &str| -> rusqlite::Result<i64> {
            connection
                .prepare_cached(sql)?
                .query_row((), |row| row.get(0))
        };
        session.gate.ours(|| {
            let size = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
            Ok(Self {
                total_changes: connection.total_changes(),
                last_row_id: connection.last_insert_rowid(),
                schema: number("PRAGMA schema_version")?,
                size: u64::try_from(size).unwrap_or(0),
            })
        })
    }
}

impl<'a> Run<'a> {
    /// Runs every statement of the query's text and returns the last one's rows.
    pub(super) fn query(&mut self, query: &Query) -> Result<QueryResult, Stop> {
        if query.sql.contains('\0') {
            return Err(QueryError::NulInSql.into());
        }
        let mut rest = query.sql.as_str();
        let mut last: Option<QueryResult> = None;
        while !text::is_blank(rest) {
            let (statement, used) = prepare(self.session, rest)?;
            // SQLite takes at least a character of a text that is not blank; if not, this must still end.
            rest = rest.get(used.max(1)..).unwrap_or("");
            let Some(statement) = statement else { continue };
            let params = own_params(&statement, &query.params, text::is_blank(rest))?;
            let mut result = self.statement(statement, params)?;
            if let Some(earlier) = last {
                result.meta = Meta::total([&earlier.meta, &result.meta]);
            }
            last = Some(result);
        }
        last.ok_or_else(|| QueryError::NoStatement.into())
    }

    fn statement(
        &mut self,
        mut statement: Statement<'a>,
        params: &[Param],
    ) -> Result<QueryResult, Stop> {
        let readonly = statement.is_readonly();
        if !readonly && !self.session.writes {
            return Err(Stop::NeedsWriter);
        }
        self.wrote |= !readonly;
        for (index, param) in params.iter().enumerate() {
            statement.bind(index + 1, param.bound(self.options.numbers))?;
        }
        let started = Instant::now();
        let (columns, rows) = self.watched(|run| run.rows(&mut statement))?;
        let sql_duration = started.elapsed();
        let rows_read = statement.rows_read();
        drop(statement);
        let meta = Meta {
            sql_duration,
            rows_read,
            ..self.changes(readonly)?
        };
        Ok(QueryResult {
            columns,
            rows,
            meta,
        })
    }

    /// Runs a statement that is interrupted when its time is up, or when nobody waits for it and nothing
    /// was written yet.
    fn watched<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let limit = self.options.statement_timeout;
        let cancelled = (!self.wrote).then_some(self.cancelled);
        self.session
            .watch
            .start(Instant::now().checked_add(limit), cancelled);
        let result = run(self);
        match (self.session.watch.finish(), result) {
            (Some(Stopped::TimeIsUp), Err(_)) => Err(QueryError::Timeout(limit)),
            (Some(Stopped::Cancelled), Err(_)) => Err(QueryError::Cancelled),
            (_, result) => result,
        }
    }

    fn rows(
        &mut self,
        statement: &mut Statement<'a>,
    ) -> Result<(Vec<String>, Vec<Vec<Cell>>), QueryError> {
        let mut rows = Vec::new();
        let mut more = statement.step()?;
        // After the first step: a schema that changed meanwhile may have changed the columns.
        let columns = statement.columns();
        self.count_bytes(columns.iter().map(|name| name.len() + OVERHEAD).sum())?;
        while more {
            let row: Vec<Cell> = (0..columns.len())
                .map(|column| statement.cell(column))
                .collect();
            self.count_row(&row)?;
            rows.push(row);
            more = statement.step()?;
        }
        Ok((columns, rows))
    }

    fn count_row(&mut self, row: &[Cell]) -> Result<(), QueryError> {
        self.rows_left = self
            .rows_left
            .checked_sub(1)
            .ok_or(QueryError::TooManyRows(self.options.max_result_rows))?;
        self.count_bytes(OVERHEAD + row.iter().map(Cell::size).sum::<usize>())
    }

    fn count_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or(QueryError::TooManyBytes(self.options.max_result_bytes))?;
        Ok(())
    }

    /// The figures of the statement that has just run, but for those that it alone knows.
    fn changes(&mut self, readonly: bool) -> Result<Meta, QueryError> {
        let before = self.state;
        if !readonly {
            self.state = State::read(self.session)?;
        }
        let changes = self
            .state
            .total_changes
            .saturating_sub(before.total_changes);
        let now = Instant::now();
        let duration = now.duration_since(std::mem::replace(&mut self.mark, now));
        Ok(Meta {
            duration,
            rows_written: changes,
            changes,
            last_row_id: self.state.last_row_id,
            changed_db: self.state != before,
            size_after: self.state.size,
            ..Meta::default()
        })
    }
}

fn prepare<'a>(
    session: &'a Session,
    sql: &str,
) -> Result<(Option<Statement<'a>>, usize), QueryError> {
    session.gate.take_denial();
    raw::prepare(&session.connection, sql).map_err(|failure| {
        session
            .gate
            .take_denial()
            .unwrap_or(QueryError::Sqlite(failure))
    })
}

/// The call's parameters if the statement is the last of its text, else none; the counts must agree.
fn own_params<'p>(
    statement: &Statement<'_>,
    params: &'p [Param],
    last: bool,
) -> Result<&'p [Param], QueryError> {
    let expected = statement.parameter_count();
    match (last, expected) {
        (false, 0) => Ok(&[]),
        (false, _) => Err(QueryError::ParametersBeforeLast),
        (true, _) if expected == params.len() => Ok(params),
        (true, _) => Err(QueryError::ParameterCount {
            expected,
            given: params.len(),
        }),
    }
}
