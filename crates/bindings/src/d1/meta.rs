//! What a statement cost and changed: the `meta` of D1's answers.

use std::time::Duration;

/// The figures of one statement.
///
/// They are measured, never estimated:
///
/// | field | what |
/// |---|---|
/// | `duration` | time on the database thread; the first statement's includes the wait for the write lock, the last one's the commit. D1 does not say what is included |
/// | `rows_read` | times that a cursor was put or moved to a row, as D1 counts them ([`RowCount`](super::RowCount)) |
/// | `rows_written` | rows and index entries that were written, rows of the schema too, and rows that were deleted |
/// | `changes` | rows inserted, updated or deleted, by triggers and foreign keys too |
/// | `last_row_id` | of the last insert since the database was opened, by any caller; 0 before one |
/// | `size_after` | bytes: pages in use by the database, times their size |
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Meta {
    /// Time on the database thread, the transaction's share included.
    pub duration: Duration,
    /// Time from preparing the statement to its last row.
    pub sql_duration: Duration,
    /// Rows that were looked at, see [`RowCount`](super::RowCount).
    pub rows_read: u64,
    /// Rows and index entries that were written, see [`RowCount`](super::RowCount).
    pub rows_written: u64,
    /// Rows that were inserted, updated or deleted: `total_changes()` after less before.
    pub changes: u64,
    /// The row id of the last insert.
    pub last_row_id: i64,
    /// Whether the file's content is different now: rows, schema or size.
    pub changed_db: bool,
    /// The database's size in bytes after the statement.
    pub size_after: u64,
    /// Integers of the rows that JavaScript gets rounded, see [`Integers::Number`](super::Integers::Number).
    pub rounded_integers: u64,
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
            rounded_integers: sum.rounded_integers + meta.rounded_integers,
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
