//! What a statement cost and changed: the `meta` of D1's answers.

use std::time::Duration;

/// The figures of one statement.
///
/// They are measured, never estimated. Where SQLite cannot count what D1 counts, the difference is said
/// here rather than smoothed over:
///
/// | field | here | D1 |
/// |---|---|---|
/// | `duration` | time on the database thread; the first statement's includes the wait for the write lock, the last one's the commit | the same idea, without saying what is included |
/// | `rows_read` | rows that the statement's loops visited, index lookups included ([`RowsRead`]) | cursor movements of a patched SQLite: also counts seeks, `count(*)`'s rows and rows read while changing the schema |
/// | `rows_written` | rows inserted, updated or deleted, by triggers and foreign keys too | also one for each index entry and for rows of the schema table |
/// | `changes` | the same count | the same |
/// | `last_row_id` | of the last insert since the database was opened, by any caller; 0 before one | the same, for its single connection |
/// | `size_after` | bytes: pages in use by the database, times their size | the same |
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Meta {
    /// Time on the database thread, the transaction's share included.
    pub duration: Duration,
    /// Time from preparing the statement to its last row.
    pub sql_duration: Duration,
    /// Rows that were looked at, see [`RowsRead`].
    pub rows_read: u64,
    /// Rows that were inserted, updated or deleted.
    pub rows_written: u64,
    /// Rows that were inserted, updated or deleted: `total_changes()` after less before.
    pub changes: u64,
    /// The row id of the last insert.
    pub last_row_id: i64,
    /// Whether the file's content is different now: rows, schema or size.
    pub changed_db: bool,
    /// The database's size in bytes after the statement.
    pub size_after: u64,
}

/// How [`Meta::rows_read`] is counted, which depends on how SQLite was compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsRead {
    /// `SQLITE_SCANSTAT_NVISIT`: the rows that each loop of the statement visited, added up. Scans, index
    /// lookups and subqueries count; the rows behind `count(*)` without a condition do not, nor do triggers'.
    Visits,
    /// `SQLITE_STMTSTATUS_FULLSCAN_STEP`: only steps of full table scans, one less than the rows of each
    /// scan; a lookup by index counts 0. A lower bound, used when SQLite was compiled without
    /// `SQLITE_ENABLE_STMT_SCANSTATUS`.
    FullScanSteps,
}

impl RowsRead {
    /// How this build counts.
    pub const fn method() -> Self {
        if cfg!(stmt_scanstatus) {
            Self::Visits
        } else {
            Self::FullScanSteps
        }
    }
}

impl Meta {
    /// One figure for several statements, as D1 tags its spans: counts and times are added, the row id and
    /// the size are the last one's.
    pub fn total<'a>(metas: impl IntoIterator<Item = &'a Self>) -> Self {
        metas.into_iter().fold(Self::default(), |sum, meta| Self {
            duration: sum.duration + meta.duration,
            sql_duration: sum.sql_duration + meta.sql_duration,
            rows_read: sum.rows_read + meta.rows_read,
            rows_written: sum.rows_written + meta.rows_written,
            changes: sum.changes + meta.changes,
            last_row_id: meta.last_row_id,
            changed_db: sum.changed_db || meta.changed_db,
            size_after: meta.size_after,
        })
    }
}

/// A duration as D1 writes it: milliseconds with a fraction, to the microsecond.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_counts_and_keep_the_last_row_id_and_size() {
        let one = Meta {
            rows_read: 2,
            changes: 1,
            last_row_id: 7,
            changed_db: true,
            size_after: 10,
            ..Meta::default()
        };
        let two = Meta {
            rows_read: 3,
            last_row_id: 8,
            size_after: 20,
            duration: Duration::from_micros(1500),
            ..Meta::default()
        };
        let total = Meta::total([&one, &two]);
        assert_eq!(
            (total.rows_read, total.changes, total.last_row_id),
            (5, 1, 8)
        );
        assert_eq!((total.changed_db, total.size_after), (true, 20));
        assert_eq!(milliseconds(total.duration), 1.5);
    }

    #[test]
    fn the_total_of_nothing_is_zero() {
        assert_eq!(Meta::total([]), Meta::default());
    }
}
