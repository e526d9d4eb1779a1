//! Tells the crate whether SQLite is compiled with row counting.
//!
//! `libsqlite3-sys` takes extra flags from `LIBSQLITE3_FLAGS`, and declares `sqlite3_stmt_scanstatus_v2` even
//! when they leave it out. Calling it would then fail at link time, so the call is behind this `cfg`.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(stmt_scanstatus)");
    println!("cargo::rerun-if-env-changed=LIBSQLITE3_FLAGS");
    println!("cargo::rerun-if-changed=build.rs");
    let flags = std::env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    let counts_rows = flags
        .split_whitespace()
        .any(|flag| flag.trim_start_matches("-D") == "SQLITE_ENABLE_STMT_SCANSTATUS");
    if counts_rows {
        println!("cargo::rustc-cfg=stmt_scanstatus");
    }
}
