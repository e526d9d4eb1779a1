//! A D1 database on a real SQLite file.
//!
//! To a Worker this is `env.DB`: workerd's D1 wrapper sends each statement, and each batch, as one call
//! `query({queries: [{sql, params?}], bookmark?})`, and [`Database`] answers it. It is a
//! [`Service`](js_rpc::Service), to be served by a [`js_rpc::Server`]; [`Database::query`] is the same for
//! Rust.
//!
//! # What is as in D1
//! - A call is one transaction. The first statement that fails undoes all of it, and its message, in
//!   workerd's words (`UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: ..)`), is the error: a result or an
//!   exception ([`ReplyForm`]).
//! - Parameters and values: [`Param`], [`Cell`], [`Numbers`]. Integers beyond 2^53 arrive rounded to the
//!   nearest number that JavaScript has, which `meta` tells ([`Integers`]); a blob arrives as an array of numbers.
//! - One text may hold several statements; `exec()` sends each line as one.
//! - Limits: 100 parameters, 100 columns of a result, 100 kB of SQL, 2 MB a value, 10 GB a database, 30 s a call
//!   ([`DatabaseOptions`]).
//! - No `BEGIN`, `ATTACH`, `VACUUM`, temporary tables or extensions; of the PRAGMAs those that D1 lists,
//!   and one that changes a setting changes it for its own call only.
//!
//! # What is not
//! - One file, no replicas: [`Bookmark`] says what a bookmark then means.
//! - Reads run beside a write. Calls that are awaited see each other's effects; a read that is sent without
//!   waiting for a write may see the state before it. D1 runs one call at a time;
//!   [`readers: 0`](DatabaseOptions::readers) does that.
//! - Tables may have more columns than D1's 100, so that any file can be served.
//!
//! # How it runs
//! SQLite blocks, so it runs elsewhere: one connection writes, a few read. There are two ways:
//!
//! - [`Database`]: on threads of this process. For SQL of your own: a statement that computes within one of SQLite's
//!   functions cannot be interrupted, and memory is bounded by what each statement may return, not by what it uses.
//! - [`IsolatedDatabase`]: in processes that are started for it, for SQL that others send. Memory, time and files are
//!   bounded whatever a statement does, and clients share the database fairly. The program calls [`run_if_asked`] first
//!   of all, because it is started again for each process.
//!
//! A caller that goes away interrupts its call, which is rolled back; one that is being committed counts. The file is
//! switched to a write-ahead log and stays an ordinary database, which `sqlite3` can open meanwhile.
//!
//! The name and attributes that a call gives to its caller's span are in [`Description`]: what it is about is
//! said before it runs, so that one that is canceled or past its deadline still has a name.

mod bookmark;
mod cell;
mod codes;
mod database;
mod error;
mod gate;
#[cfg(feature = "host")]
pub(crate) mod host;
mod http;
mod isolated;
mod meta;
mod open;
mod options;
mod outcome;
mod params;
mod raw;
mod reply;
mod request;
mod request_value;
mod rows;
mod service;
mod spans;
mod statement;
mod text;
mod threads;
mod transaction;
mod watch;

pub use bookmark::{Bookmark, MAX_BOOKMARK_BYTES, NotABookmark};
pub use cell::Cell;
pub use database::Database;
pub use error::{Full, QueryError, SqliteFailure, Written};
pub use isolated::{
    ARGUMENT as WORKER_ARGUMENT, CannotOpen, DatabaseStatus, IsolatedDatabase, Isolation,
    WhyReplaced, WorkerProgram, run_if_asked,
};
pub use meta::Meta;
pub use open::OpenError;
pub use options::{DatabaseOptions, Integers, Numbers, ReplyForm};
pub use outcome::{QueryOutcome, QueryResult};
pub use params::Param;
pub use reply::reply;
pub use request::{Query, QueryRequest};
pub use request_value::RequestError;
pub use rows::RowCount;
pub use service::Answer;
pub use spans::{Description, QUERY_TEXT_BYTES};
