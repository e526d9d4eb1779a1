//! Tells the crate whether SQLite is compiled so that rows can be counted.
//!
//! `libsqlite3-sys` takes extra flags from `LIBSQLITE3_FLAGS`, and declares `sqlite3_stmt_scanstatus_reset` even
//! when they leave it out. Calling it would then fail at link time, so the call is behind this `cfg`.

const NEEDED: [&str; 2] = [
    "SQLITE_ENABLE_STMT_SCANSTATUS",
    "SQLITE_ENABLE_BYTECODE_VTAB",
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(counts_rows)");
    println!("cargo::rerun-if-env-changed=LIBSQLITE3_FLAGS");
    println!("cargo::rerun-if-changed=build.rs");
    let flags = std::env::var("LIBSQLITE3_FLAGS").unwrap_or_default();
    let given = flags.split_whitespace().map(|flag| {
        let flag = flag.trim_start_matches("-D");
        flag.split_once('=').map_or(flag, |(name, _)| name)
    });
    let given: Vec<&str> = given.collect();
    if NEEDED.iter().all(|needed| given.contains(needed)) {
        println!("cargo::rustc-cfg=counts_rows");
    }
}
