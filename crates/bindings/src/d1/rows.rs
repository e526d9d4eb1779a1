//! How many rows a statement read and wrote, as D1 counts them.
//!
//! workerd's SQLite has two more counters: it counts each time a cursor is positioned or moved to a row, and each entry
//! that is put into a table or an index. Stock SQLite can tell the same afterwards: it counts how often each instruction
//! of a statement ran ([`Op`]), and how often a cursor moved on. See [`RowCount`] for where that is not enough.

/// How [`Meta::rows_read`](super::Meta::rows_read) and [`Meta::rows_written`](super::Meta::rows_written) are counted,
/// which depends on how SQLite was compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowCount {
    /// As D1 counts. SQLite was compiled with `SQLITE_ENABLE_STMT_SCANSTATUS` and `SQLITE_ENABLE_BYTECODE_VTAB`.
    ///
    /// Two differences are left, where instructions do not tell enough:
    /// - D1 does not count lookups of a key that is NULL or no number where rows are numbered by it, and lookups of a key
    ///   that an index does not have. The former are counted here; so are the latter in a statement that makes many,
    ///   a join for instance, if other lookups of it find more than one row each. `rows_read` is the most that it can be.
    /// - `CREATE INDEX` and `REINDEX` of a large table read one row less for each page of the index.
    Exact,
    /// `rows_read`: how often a cursor moved on to another row, a lower bound which is one less than the rows of each
    /// loop. `rows_written`: rows inserted, updated or deleted, without entries of indexes.
    Steps,
}

impl RowCount {
    /// How this build counts.
    pub const fn method() -> Self {
        if cfg!(counts_rows) {
            Self::Exact
        } else {
            Self::Steps
        }
    }
}

/// An instruction of a statement that ran.
#[cfg_attr(not(counts_rows), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) code: Code,
    pub(super) p1: i32,
    pub(super) p2: i32,
    pub(super) p3: i32,
    pub(super) p5: i32,
    /// How often it ran.
    pub(super) runs: u64,
}

/// The instructions that matter (sqlite.org/opcode.html).
#[cfg_attr(not(counts_rows), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// The first one of a program: the statement's, or that of a trigger or a foreign key.
    Init,
    /// `OpenRead`, `OpenWrite`, `ReopenIdx`: a cursor on a table or an index of the database.
    Open,
    /// `OpenEphemeral`, `OpenAutoindex`, `OpenDup`: a cursor on what only the statement has.
    OpenEphemeral,
    /// `SeekLT`, `SeekLE`, `SeekGE`, `SeekGT`.
    Seek,
    /// `IdxGT`, `IdxLT`.
    IndexEnd,
    /// `SeekRowid`, `NotExists`, `Rewind`, `Last`, `Sort`, `SorterSort`, `VNext`: counts each time.
    Position,
    /// Before each entry of a new index: counts if the cursor is not at the end already.
    SeekEnd,
    Count,
    Copy,
    ResultRow,
    Insert,
    Delete,
    IdxInsert,
    Clear,
    VUpdate,
    Other,
}

impl Code {
    /// By the name that SQLite gives to it.
    #[cfg_attr(not(counts_rows), allow(dead_code))]
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"Init" => Self::Init,
            b"OpenRead" | b"OpenWrite" | b"ReopenIdx" => Self::Open,
            b"OpenEphemeral" | b"OpenAutoindex" | b"OpenDup" => Self::OpenEphemeral,
            b"SeekLT" | b"SeekLE" | b"SeekGE" | b"SeekGT" => Self::Seek,
            b"IdxGT" | b"IdxLT" => Self::IndexEnd,
            b"SeekRowid" | b"NotExists" | b"Rewind" | b"Last" | b"Sort" | b"SorterSort"
            | b"VNext" => Self::Position,
            b"SeekEnd" => Self::SeekEnd,
            b"Count" => Self::Count,
            b"Copy" | b"SCopy" => Self::Copy,
            b"ResultRow" => Self::ResultRow,
            b"Insert" => Self::Insert,
            b"Delete" => Self::Delete,
            b"IdxInsert" => Self::IdxInsert,
            b"Clear" => Self::Clear,
            b"VUpdate" => Self::VUpdate,
            _ => Self::Other,
        }
    }
}

/// What a run's instructions tell.
#[cfg_attr(not(counts_rows), allow(dead_code))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Times a cursor was positioned.
    pub(super) positioned: u64,
    pub(super) written: u64,
    /// Of `written`, and of deletions: those that count as changes.
    pub(super) changes: u64,
    /// Whether a whole table was emptied at once, which counts for as many rows as changed besides `changes`.
    pub(super) cleared: bool,
    /// Whole tables whose entries were counted.
    pub(super) counted: Vec<Counted>,
    /// Whether triggers or foreign keys have programs of their own.
    pub(super) subprograms: bool,
}

/// A `count(*)` that SQLite answers without looking at rows. D1 counts them as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// The first page of the table, or of one of its indexes.
    pub(super) root: i32,
    pub(super) runs: u64,
    /// The column of the result that is this number, if one is.
    pub(super) column: Option<usize>,
}

/// `p5` of an instruction that opens a cursor for lookups of equal keys alone: one that finds nothing does not count.
const SEEK_EQ: i32 = 2;
/// `p5`, or `p2` of a `Delete`: what it writes is a change.
const CHANGES: i32 = 1;

/// What the instructions of a run tell.
#[cfg_attr(not(counts_rows), allow(dead_code))]
pub(super) fn tally(ops: &[Op]) -> Tally {
    let mut tally = Tally::default();
    for (number, program) in programs(ops).enumerate() {
        tally.subprograms |= number > 0;
        for (at, op) in program.iter().enumerate().filter(|(_, op)| op.runs > 0) {
            tally.add(program, at, op);
        }
    }
    tally
}

fn programs(ops: &[Op]) -> impl Iterator<Item = &[Op]> {
    let later = |op: &Op| op.code == Code::Init;
    let mut rest = ops;
    std::iter::from_fn(move || {
        let behind = rest.get(1..)?;
        let end = behind
            .iter()
            .position(later)
            .map_or(rest.len(), |at| at + 1);
        let (program, others) = rest.split_at(end);
        rest = others;
        Some(program)
    })
}

impl Tally {
    fn add(&mut self, program: &[Op], at: usize, op: &Op) {
        match op.code {
            Code::Position => self.positioned += op.runs,
            Code::Seek => self.positioned += found(program, at, op),
            // And once more for each page that is filled, which is not to be seen.
            Code::SeekEnd => self.positioned += op.runs.min(2),
            Code::Count if op.p3 == 0 => self.counted.extend(counted(program, op)),
            Code::Insert | Code::IdxInsert if !is_ephemeral(program, op.p1) => {
                self.written += op.runs;
                self.change(op.p5, op.runs);
            }
            Code::Delete if op.p2 & CHANGES != 0 && !is_ephemeral(program, op.p1) => {
                self.written += op.runs;
                self.change(op.p2, op.runs);
            }
            Code::VUpdate => {
                self.written += op.runs;
                self.changes += op.runs;
            }
            Code::Clear if op.p3 != 0 => self.cleared = true,
            _ => {}
        }
    }

    fn change(&mut self, flags: i32, runs: u64) {
        if flags & CHANGES != 0 {
            self.changes += runs;
        }
    }
}

fn is_ephemeral(program: &[Op], cursor: i32) -> bool {
    let mut opened = program.iter();
    opened.any(|op| op.code == Code::OpenEphemeral && op.p1 == cursor)
}

/// How many of a lookup's runs count.
fn found(program: &[Op], at: usize, op: &Op) -> u64 {
    let opens = |other: &Op| other.code == Code::Open && other.p1 == op.p1;
    let equal = program
        .iter()
        .any(|other| opens(other) && other.p5 & SEEK_EQ != 0);
    // One that finds its key skips the next instruction, which then ends the loop at the first other key.
    match program.get(at + 1..) {
        Some([end, body, ..]) if equal && end.code == Code::IndexEnd => op.runs.min(body.runs),
        _ => op.runs,
    }
}

fn counted(program: &[Op], op: &Op) -> Option<Counted> {
    let opens = |other: &&Op| other.code == Code::Open && other.p1 == op.p1;
    let root = program.iter().find(opens)?.p2;
    Some(Counted {
        root,
        runs: op.runs,
        column: result_column(program, op),
    })
}

/// The column of the one result row that is the number that an instruction put into a register.
fn result_column(program: &[Op], op: &Op) -> Option<usize> {
    let mut rows = program.iter().filter(|other| other.code == Code::ResultRow);
    let (row, None) = (rows.next()?, rows.next()) else {
        return None;
    };
    if (op.runs, row.runs) != (1, 1) {
        return None;
    }
    let copies = |other: &&Op| other.code == Code::Copy && other.p1 == op.p2;
    let register = program.iter().find(copies).map_or(op.p2, |copy| copy.p2);
    let column = usize::try_from(register - row.p1).ok()?;
    (register < row.p1 + row.p2).then_some(column)
}
