//! A binding that a callee offers, whatever kind it is of: as it is configured, and as it is open.

use std::rc::Rc;
use std::time::Duration;

use host::{Configured, Kind, Offered, Opening};
use js_rpc::Bindings;

use crate::exit::Failure;
use crate::kinds::Meters;
use crate::log;

/// A binding, as it is configured.
#[derive(Debug)]
pub struct BindingConfig {
    pub(super) kind: &'static dyn Kind,
    pub(super) configured: Box<dyn Configured>,
}

impl BindingConfig {
    /// Its name.
    pub fn name(&self) -> &str {
        self.configured.name()
    }

    /// Opens it; `meters` know it as soon as it is shown.
    pub(super) async fn open(self, meters: &Meters) -> Result<Open, Failure> {
        let own = |(kind, _): &(&'static dyn Kind, _)| kind.name() == self.kind.name();
        let Some((_, meter)) = meters.each().find(own) else {
            let text = format!("there are no bindings of the kind {}", self.kind.name());
            return Err(Failure::Config(text));
        };
        let opening = Opening {
            meter,
            say: &|line| log::say("callee", tracing::Level::INFO, line),
        };
        let open = self.configured.open(&opening).await?;
        Ok(Open {
            config: Rc::new(self),
            open: open.into(),
        })
    }
}

/// A binding that is open. Clones are the same one.
#[derive(Clone)]
pub(super) struct Open {
    config: Rc<BindingConfig>,
    open: Rc<dyn Offered>,
}

impl Open {
    pub(super) fn name(&self) -> &str {
        self.config.name()
    }

    /// Whether it would be no other one if it were opened as `config` says.
    pub(super) fn is_as(&self, config: &BindingConfig) -> bool {
        self.config.configured.is_same(config.configured.as_ref())
    }

    /// Answers calls of its name from now on.
    pub(super) fn serve(&self, bindings: &Bindings) {
        self.open.serve(self.name(), bindings);
    }

    /// Says where it is reached by plain HTTP, if it wants to know.
    pub(super) fn reached_at(&self, url: Option<String>) {
        self.open.reached_at(url);
    }

    /// Opens it again if it is not what it was when it was opened; what came of it.
    pub(super) async fn reopen(&self) -> Option<String> {
        Some(match self.open.reopen().await? {
            Ok(()) => format!("{} is opened again", self.name()),
            Err(why) => format!("{} cannot be opened again: {why}", self.name()),
        })
    }

    /// Lets it finish what it is doing, for a while.
    pub(super) async fn close(self) {
        // What does not end is the system's to end, with the process.
        let _ = tokio::time::timeout(CLOSE, self.open.close()).await;
    }
}

/// These are all bindings from now on, for whoever asks how they are doing.
pub(super) fn show(all: &[Open], meters: &Meters) {
    for (kind, meter) in meters.each() {
        let own = all
            .iter()
            .filter(|open| open.config.kind.name() == kind.name());
        let own: Vec<(&str, &dyn Offered)> =
            own.map(|open| (open.name(), open.open.as_ref())).collect();
        meter.replace(&own);
    }
}

/// All of them, in a line.
pub(super) fn describe(all: &[Open]) -> String {
    let each = all.iter();
    let each = each.map(|one| format!("{} ({})", one.name(), one.open.describe()));
    format!("serving {}", each.collect::<Vec<_>>().join(", "))
}

/// How long a binding may take to finish what it is doing once its callers are gone.
const CLOSE: Duration = Duration::from_secs(2);
