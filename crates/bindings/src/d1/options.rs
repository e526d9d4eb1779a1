//! What the operator of a database decides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a database is opened and what a call may cost. The defaults are D1's where D1 publishes a figure.
///
/// ```
/// use bindings::d1::DatabaseOptions;
/// use std::time::Duration;
///
/// let options = DatabaseOptions { create: true, timeout: Duration::from_secs(5), ..Default::default() };
/// assert_eq!(options.max_parameters, 100);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseOptions {
    /// Create the file when there is none. Off by default: a mistyped path should not become a database.
    pub create: bool,
    /// The name that spans carry as `db.namespace`. Default: the file's name without its extension.
    pub name: Option<String>,
    /// Switch the file to a write-ahead log, in which reads run beside a write. The switch is stored in the
    /// file. When off, the file's own journal mode stays and a write waits for the reads that are running.
    pub wal: bool,
    /// How many threads answer calls that only read, each with a connection of its own. With 0 the one
    /// thread that writes answers everything, in the order of arrival, as D1 does.
    pub readers: usize,
    /// The longest that a call may take on the database, all of its statements together (D1: 30 s for each). It is
    /// then interrupted and rolled back.
    pub timeout: Duration,
    /// How long to wait for a lock that another process holds, `sqlite3` on the same file for instance.
    pub busy_timeout: Duration,
    /// How many calls may wait for a thread. A further one fails at once: `Too many requests queued.`
    pub max_queued: usize,
    /// The most statements in one call.
    pub max_statements: usize,
    /// The most bound parameters of a statement (D1: 100).
    pub max_parameters: usize,
    /// The longest SQL text, in bytes (D1: 100,000).
    pub max_sql_bytes: usize,
    /// The largest string, blob or row, in bytes (D1: 2,000,000). It applies to what is already stored, too.
    pub max_value_bytes: usize,
    /// The most columns that a statement returns (D1: 100). Tables may have more, as SQLite allows.
    pub max_columns: usize,
    /// The most rows that one call returns, over all its statements.
    pub max_result_rows: usize,
    /// The most bytes that one call returns, over all its statements, by a measure that is close to the
    /// reply's length: 8 for each value, row and column, and the length of texts and names. A blob leaves as
    /// an array of numbers, as D1's do, so each of its bytes is such a value. The default keeps a reply
    /// within the 2^20 values that our own callers accept; a blob of 900 KB passes.
    pub max_result_bytes: usize,
    /// How large the database may grow, in bytes (D1: 10 GB). A file that is larger already does not grow.
    pub max_database_bytes: u64,
    /// How large the write-ahead log may grow within a call, in bytes: it holds all that the call changes.
    pub max_log_bytes: u64,
    /// How large temporary files may grow, all together, in bytes: a large sort or a new index needs some.
    pub max_temporary_bytes: u64,
    /// The longest body of a plain HTTP request, in bytes. Whoever receives requests reads no more.
    pub max_request_bytes: usize,
    /// The storage class of a JavaScript number that has no fraction.
    pub numbers: Numbers,
    /// What a caller gets for an integer that a JavaScript number cannot hold.
    pub integers: Integers,
    /// How `query` answers.
    pub reply: ReplyForm,
}

/// What SQLite gets when a parameter is a JavaScript number without a fraction, such as `7`.
///
/// The column decides in most cases: a column with INTEGER, REAL or NUMERIC affinity converts either form
/// without loss. The difference shows in expressions (`?1 / 2` is 3 or 3.5), in TEXT columns (`7` or `7.0`)
/// and in JSON functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Numbers {
    /// INTEGER when it is integral and at most 2^53 - 1 in magnitude, else REAL: the table of conversions in
    /// D1's documentation, and what people expect to find in the file.
    #[default]
    Integral,
    /// Always REAL: what the SQL storage inside workerd does with every number.
    Double,
}

/// What a caller gets for an integer of a result that no JavaScript number is equal to: most beyond 2^53.
///
/// All others are numbers. As a parameter such an integer is a BigInt, which is bound exactly; in JSON it is written with
/// its digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Integers {
    /// The nearest number, as from D1. `meta.rounded_integers` says how many there are, and is absent if there are none. A
    /// reply to a plain HTTP request has all digits, which JavaScript rounds as it reads them.
    #[default]
    Number,
    /// Its digits, as a string.
    Text,
    /// A BigInt; in a reply to a plain HTTP request, since JSON has none, its digits as a string.
    BigInt,
}

impl Integers {
    /// Whether an integer reaches a caller as another one.
    pub(super) fn rounds(self, value: i64) -> bool {
        self == Self::Number && !is_exact(value)
    }
}

/// Whether a JavaScript number is equal to it.
pub(super) const fn is_exact(value: i64) -> bool {
    // `as` saturates, so the largest one would seem to come back.
    value.unsigned_abs() <= 1 << 53 || ((value as f64) as i128) == value as i128
}

/// How `query` answers. Both are understood by workerd 1.20261117.1, in whose source [`Legacy`](Self::Legacy) is to be
/// removed; workerd of August 2026 understands that one alone, so it is the default. Callers cannot be told apart: a call
/// does not say what its caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReplyForm {
    /// `{success: true, results: {queryResults: [{meta, data}], bookmark}}`; a failure is a result, too:
    /// `{success: false, error}`.
    #[default]
    Legacy,
    /// `{results: [{meta, data}], bookmark}`; a failure is thrown.
    New,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            create: false,
            name: None,
            wal: true,
            readers: 4,
            timeout: Duration::from_secs(30),
            busy_timeout: Duration::from_secs(5),
            max_queued: 1024,
            max_statements: 1000,
            max_parameters: 100,
            max_sql_bytes: 100_000,
            max_value_bytes: 2_000_000,
            max_columns: 100,
            max_result_rows: 100_000,
            max_result_bytes: 8_000_000,
            max_database_bytes: 10_000_000_000,
            max_log_bytes: 1 << 30,
            max_temporary_bytes: 1 << 30,
            max_request_bytes: 16 << 20,
            numbers: Numbers::default(),
            integers: Integers::default(),
            reply: ReplyForm::default(),
        }
    }
}
