//! The names of SQLite's result codes, which D1's messages and spans use (sqlite.org/rescode.html).

/// The name of a primary code: the low byte of any code.
pub(super) fn primary(code: i32) -> &'static str {
    const NAMES: [&str; 29] = [
        "SQLITE_OK",
        "SQLITE_ERROR",
        "SQLITE_INTERNAL",
        "SQLITE_PERM",
        "SQLITE_ABORT",
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_NOMEM",
        "SQLITE_READONLY",
        "SQLITE_INTERRUPT",
        "SQLITE_IOERR",
        "SQLITE_CORRUPT",
        "SQLITE_NOTFOUND",
        "SQLITE_FULL",
        "SQLITE_CANTOPEN",
        "SQLITE_PROTOCOL",
        "SQLITE_EMPTY",
        "SQLITE_SCHEMA",
        "SQLITE_TOOBIG",
        "SQLITE_CONSTRAINT",
        "SQLITE_MISMATCH",
        "SQLITE_MISUSE",
        "SQLITE_NOLFS",
        "SQLITE_AUTH",
        "SQLITE_FORMAT",
        "SQLITE_RANGE",
        "SQLITE_NOTADB",
        "SQLITE_NOTICE",
        "SQLITE_WARNING",
    ];
    usize::try_from(code & 0xff)
        .ok()
        .and_then(|index| NAMES.get(index))
        .unwrap_or(&"SQLITE_ERROR")
}

/// The name of an extended code, for those that tell a caller more than the primary one does.
pub(super) fn extended(code: i32) -> Option<&'static str> {
    let (primary, detail) = (code & 0xff, code >> 8);
    let names: &[&str] = match primary {
        1 => &[
            "SQLITE_ERROR_MISSING_COLLSEQ",
            "SQLITE_ERROR_RETRY",
            "SQLITE_ERROR_SNAPSHOT",
        ],
        4 => &["", "SQLITE_ABORT_ROLLBACK"],
        5 => &[
            "SQLITE_BUSY_RECOVERY",
            "SQLITE_BUSY_SNAPSHOT",
            "SQLITE_BUSY_TIMEOUT",
        ],
        6 => &["SQLITE_LOCKED_SHAREDCACHE", "SQLITE_LOCKED_VTAB"],
        8 => &[
            "SQLITE_READONLY_RECOVERY",
            "SQLITE_READONLY_CANTLOCK",
            "SQLITE_READONLY_ROLLBACK",
            "SQLITE_READONLY_DBMOVED",
            "SQLITE_READONLY_CANTINIT",
            "SQLITE_READONLY_DIRECTORY",
        ],
        10 => &[
            "SQLITE_IOERR_READ",
            "SQLITE_IOERR_SHORT_READ",
            "SQLITE_IOERR_WRITE",
            "SQLITE_IOERR_FSYNC",
            "SQLITE_IOERR_DIR_FSYNC",
            "SQLITE_IOERR_TRUNCATE",
            "SQLITE_IOERR_FSTAT",
            "SQLITE_IOERR_UNLOCK",
            "SQLITE_IOERR_RDLOCK",
            "SQLITE_IOERR_DELETE",
        ],
        11 => &[
            "SQLITE_CORRUPT_VTAB",
            "SQLITE_CORRUPT_SEQUENCE",
            "SQLITE_CORRUPT_INDEX",
        ],
        14 => &[
            "SQLITE_CANTOPEN_NOTEMPDIR",
            "SQLITE_CANTOPEN_ISDIR",
            "SQLITE_CANTOPEN_FULLPATH",
        ],
        19 => &[
            "SQLITE_CONSTRAINT_CHECK",
            "SQLITE_CONSTRAINT_COMMITHOOK",
            "SQLITE_CONSTRAINT_FOREIGNKEY",
            "SQLITE_CONSTRAINT_FUNCTION",
            "SQLITE_CONSTRAINT_NOTNULL",
            "SQLITE_CONSTRAINT_PRIMARYKEY",
            "SQLITE_CONSTRAINT_TRIGGER",
            "SQLITE_CONSTRAINT_UNIQUE",
            "SQLITE_CONSTRAINT_VTAB",
            "SQLITE_CONSTRAINT_ROWID",
            "SQLITE_CONSTRAINT_PINNED",
            "SQLITE_CONSTRAINT_DATATYPE",
        ],
        23 => &["SQLITE_AUTH_USER"],
        _ => &[],
    };
    let index = usize::try_from(detail).ok()?.checked_sub(1)?;
    names.get(index).copied().filter(|name| !name.is_empty())
}

/// The most telling name there is.
pub(super) fn name(code: i32) -> &'static str {
    extended(code).unwrap_or_else(|| primary(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn names_agree_with_sqlite() {
        let cases = [
            (ffi::SQLITE_ERROR, "SQLITE_ERROR"),
            (ffi::SQLITE_INTERRUPT, "SQLITE_INTERRUPT"),
            (ffi::SQLITE_TOOBIG, "SQLITE_TOOBIG"),
            (ffi::SQLITE_AUTH, "SQLITE_AUTH"),
            (ffi::SQLITE_NOTADB, "SQLITE_NOTADB"),
            (ffi::SQLITE_WARNING, "SQLITE_WARNING"),
            (ffi::SQLITE_ABORT_ROLLBACK, "SQLITE_ABORT_ROLLBACK"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "SQLITE_BUSY_SNAPSHOT"),
            (ffi::SQLITE_LOCKED_VTAB, "SQLITE_LOCKED_VTAB"),
            (ffi::SQLITE_READONLY_DIRECTORY, "SQLITE_READONLY_DIRECTORY"),
            (ffi::SQLITE_IOERR_DELETE, "SQLITE_IOERR_DELETE"),
            (ffi::SQLITE_CORRUPT_INDEX, "SQLITE_CORRUPT_INDEX"),
            (ffi::SQLITE_CANTOPEN_FULLPATH, "SQLITE_CANTOPEN_FULLPATH"),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, "SQLITE_CONSTRAINT_UNIQUE"),
            (
                ffi::SQLITE_CONSTRAINT_DATATYPE,
                "SQLITE_CONSTRAINT_DATATYPE",
            ),
            (19 | 99 << 8, "SQLITE_CONSTRAINT"),
            (-1, "SQLITE_ERROR"),
        ];
        for (code, expected) in cases {
            assert_eq!(name(code), expected, "{code}");
        }
    }
}
