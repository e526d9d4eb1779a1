//! A binding that a callee offers, whatever it is: as it is configured, and as it is open.

use std::time::Duration;

use bindings::ai::Ai;
use bindings::d1::{DatabaseStatus, IsolatedDatabase};
use js_rpc::Bindings;

use super::ai::{self, AiConfig};
use super::databases::DatabaseConfig;
use crate::exit::Failure;
use crate::metrics::Models;

/// A binding, as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub enum BindingConfig {
    /// A D1 database.
    D1(DatabaseConfig),
    /// Models, and gateways to them.
    Ai(AiConfig),
}

impl BindingConfig {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::D1(database) => &database.binding,
            Self::Ai(ai) => &ai.binding,
        }
    }

    /// Whether one that is open as this says would be another one if it were opened as `other` says.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::D1(this), Self::D1(other)) => this.is_same(other),
            (this, other) => this == other,
        }
    }

    /// Opens it; what its requests to models take is counted into `models`.
    pub(super) async fn open(self, models: &Models) -> Result<Offered, Failure> {
        let (open, what) = match &self {
            Self::D1(config) => {
                let what = format!("D1, {}", config.path.display());
                (Open::D1(config.open().await?), what)
            }
            Self::Ai(config) => {
                let sink = models.sink(&config.binding, &config.options);
                let ai = config.open(sink).await?;
                let what = ai::describe(&ai);
                (Open::Ai(ai), what)
            }
        };
        Ok(Offered {
            config: self,
            open,
            what,
        })
    }
}

/// A binding that is open. Clones are the same one.
#[derive(Clone)]
pub(super) struct Offered {
    pub(super) config: BindingConfig,
    open: Open,
    /// What it is, in a few words.
    what: String,
}

#[derive(Clone)]
enum Open {
    D1(IsolatedDatabase),
    Ai(Ai),
}

impl Offered {
    pub(super) fn name(&self) -> &str {
        self.config.name()
    }

    /// Answers calls of its name from now on.
    pub(super) fn serve(&self, bindings: &Bindings) {
        match &self.open {
            Open::D1(database) => bindings.service(self.name(), database.clone()),
            Open::Ai(ai) => bindings.service(self.name(), ai.clone()),
        }
    }

    /// How it is doing, if it is a database.
    pub(super) fn database(&self) -> Option<(String, DatabaseStatus)> {
        match &self.open {
            Open::D1(database) => Some((self.name().to_owned(), database.status())),
            Open::Ai(_) => None,
        }
    }

    /// The same of models.
    pub(super) fn models(&self) -> Option<(String, Ai)> {
        match &self.open {
            Open::D1(_) => None,
            Open::Ai(ai) => Some((self.name().to_owned(), ai.clone())),
        }
    }

    /// Says where it is reached by plain HTTP, if it wants to know.
    pub(super) fn reached_at(&self, url: Option<String>) {
        if let Open::Ai(ai) = &self.open {
            ai.reached_at(url);
        }
    }

    /// Opens it again if it is not what it was when it was opened; what came of it.
    pub(super) async fn reopen(&self) -> Option<String> {
        let Open::D1(database) = &self.open else {
            return None;
        };
        database.status().failing()?;
        Some(match database.reopen().await {
            Ok(()) => format!("{} is opened again", self.name()),
            Err(why) => format!("{} cannot be opened again: {why}", self.name()),
        })
    }

    /// Lets it finish what it is doing, for a while.
    pub(super) async fn close(self) {
        // A statement that does not end is the system's to end, with the process.
        let _ = tokio::time::timeout(CLOSE, async {
            match &self.open {
                Open::D1(database) => database.close().await,
                Open::Ai(ai) => ai.close().await,
            }
        })
        .await;
    }
}

/// All of them, in a line.
pub(super) fn describe(all: &[Offered]) -> String {
    let each = all.iter();
    let each = each.map(|one| format!("{} ({})", one.name(), one.what));
    format!("serving {}", each.collect::<Vec<_>>().join(", "))
}

/// How long a binding may take to finish what it is doing once its callers are gone.
const CLOSE: Duration = Duration::from_secs(2);
