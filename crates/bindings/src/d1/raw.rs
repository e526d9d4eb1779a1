//! One prepared statement, over SQLite's C interface.
//!
//! `rusqlite` opens and configures connections. Its statement hides three things that D1 needs: where the
//! next statement of the same text begins, the offset of a syntax error, and how often each instruction
//! ran. So this module, and it alone, calls C.
#![allow(unsafe_code)] // the reason is above; each block says why it is sound

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use rusqlite::{Connection, ffi};

use super::cell::{self, Cell};
use super::error::SqliteFailure;
use super::params::Bound;
#[cfg(counts_rows)]
use super::rows::{Code, Op};
use super::text;

/// A statement that is ready to be bound and stepped. Finalized when dropped.
pub(super) struct Statement<'c> {
    statement: NonNull<ffi::sqlite3_stmt>,
    db: *mut ffi::sqlite3,
    /// The connection outlives its statements.
    connection: PhantomData<&'c Connection>,
    /// Where it goes when it is dropped, and under which text.
    kept: Option<(&'c Kept, String)>,
    #[cfg(counts_rows)]
    program: Program,
}

/// A statement's instructions as they were the last time that they were asked for, and for which preparation of it.
#[cfg(counts_rows)]
#[derive(Default)]
struct Program {
    ops: Vec<Op>,
    prepared: c_int,
}

/// Statements that are ready to be run again. To be dropped before their connection.
///
/// SQLite prepares one anew, and asks the authorizer again, when the schema is not what it was.
#[derive(Default)]
pub(super) struct Kept(RefCell<Vec<Ready>>);

struct Ready {
    sql: String,
    statement: NonNull<ffi::sqlite3_stmt>,
    #[cfg(counts_rows)]
    program: Program,
}

// SAFETY: a statement may be used by any thread, by one at a time, and they go where their connection goes.
unsafe impl Send for Kept {}

impl Kept {
    /// How many there are at most; bytes of their texts; bytes that each takes.
    const MOST: usize = 32;
    const TEXT: usize = 1024;
    const MEMORY: c_int = 64 << 10;

    /// Takes the statement of a text out.
    fn take(&self, sql: &str) -> Option<Ready> {
        let mut kept = self.0.borrow_mut();
        let at = kept.iter().position(|ready| ready.sql == sql)?;
        Some(kept.remove(at))
    }

    /// Keeps a statement that has ended, if it is small enough.
    fn put(&self, ready: Ready) {
        let statement = ready.statement;
        // SAFETY: the statement is live; nobody else has it.
        unsafe {
            ffi::sqlite3_reset(statement.as_ptr());
            ffi::sqlite3_clear_bindings(statement.as_ptr());
            let memory =
                ffi::sqlite3_stmt_status(statement.as_ptr(), ffi::SQLITE_STMTSTATUS_MEMUSED, 0);
            if memory > Self::MEMORY {
                ffi::sqlite3_finalize(statement.as_ptr());
                return;
            }
            reset_counters(statement);
        }
        let mut kept = self.0.borrow_mut();
        if kept.len() >= Self::MOST {
            let oldest = kept.remove(0);
            // SAFETY: as above.
            unsafe { ffi::sqlite3_finalize(oldest.statement.as_ptr()) };
        }
        kept.push(ready);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for ready in self.0.take() {
            // SAFETY: the statement is live, and so is its connection.
            unsafe { ffi::sqlite3_finalize(ready.statement.as_ptr()) };
        }
    }
}

/// What is counted of the statement's next run begins at 0.
///
/// # Safety
/// The statement must be live.
unsafe fn reset_counters(statement: NonNull<ffi::sqlite3_stmt>) {
    unsafe {
        #[cfg(counts_rows)]
        ffi::sqlite3_stmt_scanstatus_reset(statement.as_ptr());
        for counter in STEPS {
            ffi::sqlite3_stmt_status(statement.as_ptr(), counter, 1);
        }
    }
}

/// The first statement of `sql`, if there is one, and how many bytes of the text it took.
///
/// There is none when the bytes taken are white space, a comment or a lone semicolon. One that is the whole text, and
/// neither long nor a `PRAGMA` or the like, is kept for the next time.
pub(super) fn prepare<'c>(
    connection: &'c Connection,
    kept: &'c Kept,
    sql: &str,
) -> Result<(Option<Statement<'c>>, usize), SqliteFailure> {
    // SAFETY: the handle is used while `connection` is borrowed, on the thread that owns it.
    let db = unsafe { connection.handle() };
    if let Some(ready) = kept.take(sql) {
        let used = ready.sql.len();
        let statement = Statement {
            statement: ready.statement,
            db,
            connection: PhantomData,
            kept: Some((kept, ready.sql)),
            #[cfg(counts_rows)]
            program: ready.program,
        };
        return Ok((Some(statement), used));
    }
    let Ok(length) = c_int::try_from(sql.len()) else {
        return Err(too_big());
    };
    let mut statement = ptr::null_mut();
    let mut tail: *const c_char = ptr::null();
    // SAFETY: `sql` is `length` bytes long; the two out-pointers are valid; SQLite copies the text.
    let code = unsafe {
        ffi::sqlite3_prepare_v3(
            db,
            sql.as_ptr().cast(),
            length,
            0,
            &raw mut statement,
            &raw mut tail,
        )
    };
    if code != ffi::SQLITE_OK {
        return Err(last_failure(db, code));
    }
    // `tail` points into `sql`, or behind its last byte.
    let used = (tail as usize)
        .saturating_sub(sql.as_ptr() as usize)
        .min(sql.len());
    let statement = NonNull::new(statement).map(|statement| Statement {
        statement,
        db,
        connection: PhantomData,
        kept: may_be_kept(sql, used).then(|| (kept, sql.to_owned())),
        #[cfg(counts_rows)]
        program: Program::default(),
    });
    Ok((statement, used))
}

fn may_be_kept(sql: &str, used: usize) -> bool {
    used == sql.len() && used <= Kept::TEXT && text::reads_or_writes_rows(sql)
}

/// Bounds the memory that SQLite takes in this process, all connections together.
pub(super) fn limit_memory(bytes: u64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    // SAFETY: it may be called at any time, from any thread.
    unsafe { ffi::sqlite3_hard_heap_limit64(bytes) };
}

/// The bound on SQLite's memory, if there is one.
pub(super) fn memory_limit() -> Option<u64> {
    // SAFETY: as above; a negative number only asks.
    let bytes = unsafe { ffi::sqlite3_hard_heap_limit64(-1) };
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// Begins to look for the most that SQLite takes.
pub(super) fn forget_memory_peak() {
    // SAFETY: as above.
    unsafe { ffi::sqlite3_memory_highwater(1) };
}

/// Whether SQLite has come near its bound since then.
pub(super) fn is_short_of_memory() -> bool {
    // SAFETY: as above.
    let peak = unsafe { ffi::sqlite3_memory_highwater(0) };
    let peak = u64::try_from(peak).unwrap_or(0);
    memory_limit().is_some_and(|limit| peak >= limit / 10 * 9)
}

impl Statement<'_> {
    fn ptr(&self) -> *mut ffi::sqlite3_stmt {
        self.statement.as_ptr()
    }

    /// Whether running it leaves the database file as it is.
    pub(super) fn is_readonly(&self) -> bool {
        // SAFETY: the statement is live until it is dropped. The same holds for every call below.
        unsafe { ffi::sqlite3_stmt_readonly(self.ptr()) != 0 }
    }

    /// The greatest parameter number.
    pub(super) fn parameter_count(&self) -> usize {
        usize::try_from(unsafe { ffi::sqlite3_bind_parameter_count(self.ptr()) }).unwrap_or(0)
    }

    /// Binds the parameter with this number, counted from 1.
    pub(super) fn bind(&self, number: usize, value: Bound<'_>) -> Result<(), SqliteFailure> {
        let number = c_int::try_from(number).map_err(|_| too_big())?;
        let statement = self.ptr();
        // SAFETY: text and blob are valid for their length and SQLITE_TRANSIENT makes SQLite copy them. An
        // empty slice's pointer is not null, so an empty blob stays one and does not become NULL.
        let code = unsafe {
            match value {
                Bound::Null => ffi::sqlite3_bind_null(statement, number),
                Bound::Integer(value) => ffi::sqlite3_bind_int64(statement, number, value),
                Bound::Real(value) => ffi::sqlite3_bind_double(statement, number, value),
                Bound::Text(text) => ffi::sqlite3_bind_text64(
                    statement,
                    number,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                    ffi::SQLITE_UTF8 as u8,
                ),
                Bound::Blob(bytes) => ffi::sqlite3_bind_blob64(
                    statement,
                    number,
                    bytes.as_ptr().cast(),
                    bytes.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                ),
            }
        };
        self.check(code, ffi::SQLITE_OK).map(|_| ())
    }

    /// Runs to the next row. False when there are no more.
    pub(super) fn step(&mut self) -> Result<bool, SqliteFailure> {
        match unsafe { ffi::sqlite3_step(self.ptr()) } {
            ffi::SQLITE_ROW => Ok(true),
            code => self.check(code, ffi::SQLITE_DONE).map(|_| false),
        }
    }

    fn check(&self, code: c_int, expected: c_int) -> Result<(), SqliteFailure> {
        if code == expected {
            Ok(())
        } else {
            Err(last_failure(self.db, code))
        }
    }

    /// How many columns the result has; 0 when the statement returns no rows.
    pub(super) fn column_count(&self) -> usize {
        usize::try_from(unsafe { ffi::sqlite3_column_count(self.ptr()) }).unwrap_or(0)
    }

    /// What a value of the current row counts for, see
    /// [`max_result_bytes`](super::DatabaseOptions::max_result_bytes).
    pub(super) fn cell_size(&self, column: usize) -> usize {
        let Ok(column) = c_int::try_from(column) else {
            return 0;
        };
        let statement = self.ptr();
        // A length may make SQLite convert a text to UTF-8, which copying it would, too.
        let length = || {
            usize::try_from(unsafe { ffi::sqlite3_column_bytes(statement, column) }).unwrap_or(0)
        };
        match unsafe { ffi::sqlite3_column_type(statement, column) } {
            ffi::SQLITE_TEXT => cell::text_size(length()),
            ffi::SQLITE_BLOB => cell::blob_size(length()),
            _ => cell::OVERHEAD,
        }
    }

    /// The names of the result's columns; none when the statement returns no rows.
    pub(super) fn columns(&self) -> Vec<String> {
        let count = unsafe { ffi::sqlite3_column_count(self.ptr()) };
        (0..count)
            .map(|column| text_at(unsafe { ffi::sqlite3_column_name(self.ptr(), column) }))
            .collect()
    }

    /// A value of the current row, columns counted from 0.
    pub(super) fn cell(&self, column: usize) -> Cell {
        let Ok(column) = c_int::try_from(column) else {
            return Cell::Null;
        };
        let statement = self.ptr();
        // SAFETY: SQLite answers a column that does not exist with NULL. The bytes are copied before the next
        // call on the statement, as their validity demands; the pointer is asked for before the length.
        unsafe {
            match ffi::sqlite3_column_type(statement, column) {
                ffi::SQLITE_INTEGER => Cell::Integer(ffi::sqlite3_column_int64(statement, column)),
                ffi::SQLITE_FLOAT => Cell::Real(ffi::sqlite3_column_double(statement, column)),
                ffi::SQLITE_TEXT => {
                    let text = ffi::sqlite3_column_text(statement, column);
                    let length = ffi::sqlite3_column_bytes(statement, column);
                    Cell::Text(String::from_utf8_lossy(bytes_at(text.cast(), length)).into_owned())
                }
                ffi::SQLITE_BLOB => {
                    let blob = ffi::sqlite3_column_blob(statement, column);
                    let length = ffi::sqlite3_column_bytes(statement, column);
                    Cell::Blob(bytes_at(blob.cast(), length).to_vec())
                }
                _ => Cell::Null,
            }
        }
    }

    /// How often a cursor moved on to another row.
    pub(super) fn steps(&self) -> u64 {
        let counters = STEPS.into_iter();
        let steps =
            counters.map(|counter| unsafe { ffi::sqlite3_stmt_status(self.ptr(), counter, 0) });
        steps.map(|steps| u64::from(steps.cast_unsigned())).sum()
    }

    /// Not to be run again: what its triggers count cannot be reset.
    #[cfg(counts_rows)]
    pub(super) fn do_not_keep(&mut self) {
        self.kept = None;
    }
}

/// The counters of `sqlite3_stmt_status` that count `Next`, `Prev` and `SorterNext`: those of full scans, of building
/// automatic indexes, and of all others, which have no name.
const STEPS: [c_int; 3] = [
    0,
    ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP,
    ffi::SQLITE_STMTSTATUS_AUTOINDEX,
];

/// Asks how often each instruction of a statement ran. To be dropped before its connection.
#[cfg(counts_rows)]
pub(super) struct Counter {
    /// Says all of each instruction.
    whole: NonNull<ffi::sqlite3_stmt>,
    /// Says how often it ran, for a statement whose instructions are known.
    runs: NonNull<ffi::sqlite3_stmt>,
}

// SAFETY: as for `Kept`.
#[cfg(counts_rows)]
unsafe impl Send for Counter {}

#[cfg(counts_rows)]
impl Counter {
    /// None if SQLite has no table of instructions: it was not compiled with the flags that it was to be.
    pub(super) fn new(connection: &Connection) -> Option<Self> {
        let prepare = |sql: &CStr| {
            let mut statement = ptr::null_mut();
            // SAFETY: the handle is live, the text ends with a NUL, the out-pointer is valid.
            unsafe {
                ffi::sqlite3_prepare_v3(
                    connection.handle(),
                    sql.as_ptr(),
                    -1,
                    ffi::SQLITE_PREPARE_PERSISTENT,
                    &raw mut statement,
                    ptr::null_mut(),
                );
            }
            NonNull::new(statement)
        };
        let whole = prepare(c"SELECT nexec, opcode, p1, p2, p3, p5 FROM bytecode(?1)")?;
        match prepare(c"SELECT nexec FROM bytecode(?1)") {
            Some(runs) => Some(Self { whole, runs }),
            None => {
                // SAFETY: it was made above, and nobody has it.
                unsafe { ffi::sqlite3_finalize(whole.as_ptr()) };
                None
            }
        }
    }

    /// The instructions of a statement that has run and was not reset.
    pub(super) fn ops<'s>(&mut self, of: &'s mut Statement<'_>) -> Result<&'s [Op], SqliteFailure> {
        let of_statement = of.ptr();
        let mut ops = std::mem::take(&mut of.program.ops);
        // SAFETY: the statement is live.
        let prepared =
            unsafe { ffi::sqlite3_stmt_status(of_statement, ffi::SQLITE_STMTSTATUS_REPREPARE, 0) };
        // What it was the last time holds unless SQLite has prepared it anew.
        let mut known = ops.iter_mut();
        let asked = if known.len() > 0 && of.program.prepared == prepared {
            // SAFETY: each row is one of this query's.
            self.ask(self.runs, of, |row| {
                if let Some(op) = known.next() {
                    op.runs = unsafe { runs(row) };
                }
            })
        } else {
            ops.clear();
            // SAFETY: as above.
            self.ask(self.whole, of, |row| ops.push(unsafe { op(row) }))
        };
        asked?;
        of.program = Program { ops, prepared };
        Ok(&of.program.ops)
    }

    /// Asks one of the queries about a statement.
    fn ask(
        &self,
        query: NonNull<ffi::sqlite3_stmt>,
        of: &Statement<'_>,
        mut row: impl FnMut(*mut ffi::sqlite3_stmt),
    ) -> Result<(), SqliteFailure> {
        let own = query.as_ptr();
        // SAFETY: both statements are live and of one connection; the pointer is used only until it is cleared below.
        unsafe {
            let kind = c"stmt-pointer".as_ptr();
            let mut code = ffi::sqlite3_bind_pointer(own, 1, of.ptr().cast(), kind, None);
            while code == ffi::SQLITE_OK || code == ffi::SQLITE_ROW {
                code = ffi::sqlite3_step(own);
                if code == ffi::SQLITE_ROW {
                    row(own);
                }
            }
            let failure = (code != ffi::SQLITE_DONE).then(|| last_failure(of.db, code));
            ffi::sqlite3_reset(own);
            ffi::sqlite3_clear_bindings(own);
            failure.map_or(Ok(()), Err)
        }
    }
}

/// How often the instruction in the current row ran.
///
/// # Safety
/// The statement must be live, and be one of [`Counter`]'s.
#[cfg(counts_rows)]
unsafe fn runs(row: *mut ffi::sqlite3_stmt) -> u64 {
    u64::try_from(unsafe { ffi::sqlite3_column_int64(row, 0) }).unwrap_or(0)
}

/// The instruction in the current row.
///
/// # Safety
/// The statement must be live, and be that of [`Counter`] which says all.
#[cfg(counts_rows)]
unsafe fn op(row: *mut ffi::sqlite3_stmt) -> Op {
    let number = |column| unsafe { ffi::sqlite3_column_int(row, column) };
    // SAFETY: the name is looked at before the next call on the statement.
    let name = unsafe {
        let text = ffi::sqlite3_column_text(row, 1);
        bytes_at(text, ffi::sqlite3_column_bytes(row, 1))
    };
    Op {
        code: Code::named(name),
        runs: unsafe { runs(row) },
        p1: number(2),
        p2: number(3),
        p3: number(4),
        p5: number(5),
    }
}

#[cfg(counts_rows)]
impl Drop for Counter {
    fn drop(&mut self) {
        for statement in [self.whole, self.runs] {
            // SAFETY: the statement is live, and so is its connection.
            unsafe { ffi::sqlite3_finalize(statement.as_ptr()) };
        }
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        match self.kept.take() {
            Some((kept, sql)) => kept.put(Ready {
                sql,
                statement: self.statement,
                #[cfg(counts_rows)]
                program: std::mem::take(&mut self.program),
            }),
            // The code repeats the last step's, which was already reported.
            None => {
                unsafe { ffi::sqlite3_finalize(self.ptr()) };
            }
        }
    }
}

fn too_big() -> SqliteFailure {
    SqliteFailure {
        message: "statement too long".to_owned(),
        code: ffi::SQLITE_TOOBIG,
        offset: None,
    }
}

/// What the connection says about its last call, which must be the one that returned `code`.
fn last_failure(db: *mut ffi::sqlite3, code: c_int) -> SqliteFailure {
    // SAFETY: the handle is live, and its message stays valid until the next call on it.
    let (message, offset) = unsafe {
        (
            text_at(ffi::sqlite3_errmsg(db)),
            ffi::sqlite3_error_offset(db),
        )
    };
    SqliteFailure {
        message,
        code,
        offset: usize::try_from(offset).ok(),
    }
}

/// A copy of a C string of SQLite's, empty for a null pointer.
fn text_at(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: SQLite's strings end with a NUL and live longer than this copy takes.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// The bytes of a value.
///
/// # Safety
/// A pointer that is not null must be valid for `length` bytes, for as long as the slice is used.
unsafe fn bytes_at<'a>(bytes: *const u8, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        Ok(length) if !bytes.is_null() && length > 0 => unsafe {
            std::slice::from_raw_parts(bytes, length)
        },
        _ => &[],
    }
}
