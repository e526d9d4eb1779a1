//! Running one `{sql, params}` of a call, inside the call's transaction.

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
#[cfg(counts_rows)]
use super::rows::Tally;
use super::text;

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
    pub(super) rows_left: usize,
    pub(super) bytes_left: usize,
    /// Whether the reply has the columns' names in each row.
    pub(super) names_in_rows: bool,
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

/// What a statement read, and what its instructions tell of what it wrote.
struct RowsCounted {
    read: u64,
    #[cfg(counts_rows)]
    tally: Option<Tally>,
}

impl RowsCounted {
    #[cfg(counts_rows)]
    fn written(&self, changes: u64) -> u64 {
        let Some(tally) = &self.tally else {
            return changes;
        };
        let at_once = match tally.cleared {
            true => changes.saturating_sub(tally.changes),
            false => 0,
        };
        tally.written + at_once
    }

    #[cfg(not(counts_rows))]
    const fn written(&self, changes: u64) -> u64 {
        changes
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
            if let Some(stopped) = self.session.watch.check_due() {
                return Err(stopped.error(self.options.timeout).into());
            }
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
        for (index, param) in params.iter().enumerate() {
            statement.bind(index + 1, param.bound(self.options.numbers))?;
        }
        let started = Instant::now();
        let (columns, rows) = self.rows(&mut statement)?;
        let sql_duration = started.elapsed();
        let counted = self.count(&mut statement, rows.first())?;
        let cells = rows.iter().flatten();
        let rounds = |cell: &&Cell| matches!(cell, Cell::Integer(value) if self.options.integers.rounds(*value));
        let rounded = cells.filter(rounds).count();
        drop(statement);
        let changes = self.changes(readonly)?;
        let meta = Meta {
            sql_duration,
            rows_read: counted.read,
            rows_written: counted.written(changes.changes),
            rounded_integers: rounded as u64,
            ..changes
        };
        Ok(QueryResult {
            columns,
            rows,
            meta,
        })
    }

    /// Asked once, when the statement has run to its end.
    #[cfg(counts_rows)]
    fn count(
        &self,
        statement: &mut Statement<'a>,
        first: Option<&Vec<Cell>>,
    ) -> Result<RowsCounted, QueryError> {
        let mut read = statement.steps();
        let tally = self.session.tally(statement);
        if let Some(tally) = &tally {
            read += tally.positioned;
            for counted in &tally.counted {
                let entries = match counted.column.and_then(|column| first?.get(column)) {
                    Some(Cell::Integer(entries)) => u64::try_from(*entries).unwrap_or(0),
                    _ => self.session.entries(counted.root)?,
                };
                read = read.saturating_add(entries.saturating_mul(counted.runs));
            }
        }
        if tally.as_ref().is_none_or(|tally| tally.subprograms) {
            statement.do_not_keep();
        }
        Ok(RowsCounted { read, tally })
    }

    #[cfg(not(counts_rows))]
    #[allow(clippy::unnecessary_wraps, reason = "the other one fails")]
    fn count(
        &self,
        statement: &mut Statement<'a>,
        _: Option<&Vec<Cell>>,
    ) -> Result<RowsCounted, QueryError> {
        let read = statement.steps();
        Ok(RowsCounted { read })
    }

    fn rows(
        &mut self,
        statement: &mut Statement<'a>,
    ) -> Result<(Vec<String>, Vec<Vec<Cell>>), QueryError> {
        let mut rows = Vec::new();
        let mut more = statement.step()?;
        // After the first step alone: until then, one that was kept may have the columns of an earlier schema.
        self.check_columns(statement)?;
        let columns = statement.columns();
        let names = columns.iter().map(|name| name.len() + OVERHEAD).sum();
        self.count_bytes(names)?;
        let names = if self.names_in_rows { names } else { 0 };
        while more {
            // Before anything is copied.
            self.count_row(statement, columns.len())?;
            self.count_bytes(names)?;
            let row = (0..columns.len()).map(|column| statement.cell(column));
            rows.push(row.collect());
            more = statement.step()?;
        }
        Ok((columns, rows))
    }

    fn check_columns(&self, statement: &Statement<'a>) -> Result<(), QueryError> {
        let (given, cap) = (statement.column_count(), self.options.max_columns);
        match given > cap {
            true => Err(QueryError::TooManyColumns { given, cap }),
            false => Ok(()),
        }
    }

    fn count_row(&mut self, statement: &Statement<'a>, columns: usize) -> Result<(), QueryError> {
        self.rows_left = self
            .rows_left
            .checked_sub(1)
            .ok_or(QueryError::TooManyRows(self.options.max_result_rows))?;
        let values = (0..columns).map(|column| statement.cell_size(column));
        self.count_bytes(OVERHEAD + values.sum::<usize>())
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
    raw::prepare(&session.connection, &session.kept, sql).map_err(|failure| {
        // SQLite has one code for both.
        let complex = failure.is_out_of_memory() && !raw::is_short_of_memory();
        match session.gate.take_denial() {
            Some(denial) => denial,
            None if complex => QueryError::TooComplex,
            None => QueryError::Sqlite(failure),
        }
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
