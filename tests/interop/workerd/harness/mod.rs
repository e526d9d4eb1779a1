//! What these tests stand on: the installed binary, a running workerd, HTTP, services of ours, and a
//! time limit for everything.

mod daemon;
mod http;
mod install;
mod minilm;
#[path = "../../npm.rs"]
mod npm;
mod recording;
mod rust;
#[path = "../../venv.rs"]
mod venv;
mod workerd;

pub use daemon::Daemon;
pub use http::get;
pub use minilm::MiniLm;
pub use recording::{Recording, attributes_of, in_file, renamed, text};
pub use rust::Ours;
pub use workerd::{Builder, Workerd};

use std::time::Duration;

/// The longest that one test may take; most take less than a second.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs a test under the time limit, which does not count what a registry takes to send workerd.
pub async fn within<T>(test: impl Future<Output = T>) -> T {
    install::workerd();
    tokio::time::timeout(LIMIT, test)
        .await
        .unwrap_or_else(|_| panic!("the test took longer than {LIMIT:?}"))
}
