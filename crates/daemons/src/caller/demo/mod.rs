//! `caller demo`: what all of this is for, shown with two processes and a real database.
//!
//! The demo is a test as well: whatever is not as it should be ends it with an error. It leaves nothing
//! behind, also when it is interrupted or its callee dies.

pub(super) mod callee;
mod page;
mod peer;
mod steps;
mod trace;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use js_rpc::{Address, ConnectOptions, Connection, RpcLimits};
use tail::Recorder;
use tempfile::TempDir;

use self::page::Page;
use self::peer::Peer;
use self::trace::Trace;
use crate::exit::Failure;
use crate::signals::Signals;
use crate::telemetry::Telemetry;

/// The longest that anything in the demo may take; all of it takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn run() -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let folder = private_folder()?;
    let mut peer = Peer::spawn(folder.path())?;
    let outcome = tokio::select! {
        outcome = play(&mut peer, folder.path()) => outcome,
        number = signals.next() => Err(Failure::Signal(number)),
    };
    // The process first, then its files: nobody writes there any more.
    peer.end().await;
    let removed = remove(folder);
    outcome.and(removed)
}

/// Removes the folder; the second process may have been first.
fn remove(folder: TempDir) -> Result<(), Failure> {
    match folder.close() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::Output(
            format!("cannot remove the demo's folder: {error}"),
        )),
        _ => Ok(()),
    }
}

/// A folder that only this user can enter.
fn private_folder() -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("binding-span-demo-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| {
            let place = std::env::temp_dir();
            Failure::Config(format!(
                "cannot make a folder in {}: {error}; set TMPDIR to a folder that this user may write",
                place.display()
            ))
        })
}

async fn play(peer: &mut Peer, folder: &Path) -> Result<(), Failure> {
    peer.ready().await?;
    let recorder = Arc::new(Recorder::new());
    let connection = connect(folder, &recorder).await?;
    let mut page = Page::new();
    let mut trace = Trace::default();
    page.introduce(peer.id())?;
    let steps = steps::Steps::new(connection, recorder);
    steps.play(&mut page, &mut trace).await?;
    drop(steps);
    let lines = peer.finish().await?;
    page.tree(&trace.merge(&lines)?)?;
    page.end()
}

async fn connect(folder: &Path, recorder: &Arc<Recorder>) -> Result<Connection, Failure> {
    let limits = RpcLimits::default();
    let options = ConnectOptions {
        sinks: Telemetry::new().record(recorder).sinks(),
        limits: RpcLimits {
            connect: PATIENCE,
            call: PATIENCE,
            ..limits
        },
        ..ConnectOptions::default()
    };
    let address = Address::Unix(callee::socket(folder));
    Ok(Connection::connect(&address, options).await?)
}

/// What did not go as the demo says it goes.
fn unexpected(what: impl std::fmt::Display) -> Failure {
    Failure::Callee(format!("the demo did not go as it should: {what}"))
}
