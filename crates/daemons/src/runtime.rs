//! The one thread on which a program's RPC lives.

use std::future::Future;

use crate::exit::Failure;

/// Runs a future on a runtime that can spawn local tasks, which Cap'n Proto's objects need.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|error| Failure::Unavailable(format!("cannot start a runtime: {error}")))?
        .block_on(future)
}
