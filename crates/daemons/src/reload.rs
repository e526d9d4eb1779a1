//! SIGHUP: a daemon reads its configuration again, changes what can change while it serves, and names what
//! needs a restart. What cannot be used changes nothing. The file
//! of tail events is opened again by its path.
//!
//! What can change is each daemon's to say; here is when, and how people and the service manager hear of it.

use std::ffi::OsString;
use std::rc::Rc;

use crate::config::Values;
use crate::exit::Failure;
use crate::signals::Hangups;
use crate::systemd;
use crate::telemetry::Telemetry;

/// Where a configuration came from, so that it can be read again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The command line, the program's name first.
    pub(crate) line: Vec<OsString>,
    /// Whether it names a file.
    pub(crate) has_file: bool,
    /// What all of it said.
    pub(crate) values: Values,
}

/// When a daemon reads its configuration again, and from where. By default never.
#[derive(Default)]
pub struct Reloads {
    pub(crate) hangups: Hangups,
    pub(crate) origin: Origin,
}

/// What can change while a daemon serves.
pub(crate) trait Reload {
    /// The names of its options, with `--`, that count from now on when they change.
    fn can_change(&self) -> Vec<String>;

    /// Reads the configuration again and makes it count; what it says now, and what changed, in a few words
    /// each.
    ///
    /// # Errors
    /// When something in it cannot be used: then nothing has changed.
    async fn reload(&mut self, line: &[OsString]) -> Result<(Values, Vec<String>), Failure>;

    /// Opens again what is not what it was when it was opened, if there is something; what came of it.
    async fn reopen(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What the daemon does, in a few words.
    fn status(&self) -> String;
}

/// Looks after the SIGHUPs of a daemon. To be spawned on the thread that serves.
pub(crate) async fn watch(reloads: Reloads, telemetry: Rc<Telemetry>, mut daemon: impl Reload) {
    let Reloads { hangups, origin } = reloads;
    loop {
        hangups.next().await;
        systemd::reloading();
        telemetry.reopen();
        let failed = match again(&origin, &mut daemon).await {
            Ok(()) => String::new(),
            Err(failure) => {
                tracing::error!("the configuration stays as it was: {failure}");
                format!("; the last reload failed: {failure}")
            }
        };
        for said in daemon.reopen().await {
            tracing::info!("{said}");
        }
        systemd::ready(&format!("{}{failed}", daemon.status()));
    }
}

async fn again(origin: &Origin, daemon: &mut impl Reload) -> Result<(), Failure> {
    if !origin.has_file {
        tracing::info!(
            "the tail's file is opened again, if there is one; there is no --config to read again"
        );
        return Ok(());
    }
    let (now, changed) = daemon.reload(&origin.line).await?;
    let said = match changed.is_empty() {
        true => "nothing changed".to_owned(),
        false => changed.join("; "),
    };
    tracing::info!("read the configuration again: {said}");
    let can_change = daemon.can_change();
    let mut others = origin.values.differ(&now);
    others.retain(|name| !can_change.contains(name));
    if !others.is_empty() {
        tracing::warn!("needs a restart, and is as it was: {}", others.join(", "));
    }
    Ok(())
}

/// What became of things that have names: `added A, B`.
pub(crate) fn named(what: &str, names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
}
