//! What of `caller serve` can change while it serves: its bindings, and what it logs.

use std::collections::HashMap;
use std::ffi::OsString;

use js_rpc::{Bindings, Tls};

use super::policy::PolicyArgs;
use super::{Bound, Config, Configured, configured, proxy};
use crate::config::{self, Values};
use crate::dev_registry::DevRegistry;
use crate::door;
use crate::exit::Failure;
use crate::metrics::Links;
use crate::reload::{Reload, named};

/// A caller that serves.
pub(super) struct Serving {
    pub(super) bindings: Bindings,
    /// Where the admin port finds how they are doing.
    pub(super) links: Links,
    /// How it is found in local development.
    pub(super) dev: DevRegistry,
    /// As it started, but for what has changed since.
    pub(super) config: Config,
}

impl Reload for Serving {
    fn can_change(&self) -> Vec<String> {
        let names = config::names::<PolicyArgs>().into_iter();
        let names = names.chain(["bind", "dev-name", "log"].map(str::to_owned));
        names.map(|name| format!("--{name}")).collect()
    }

    async fn reload(&mut self, line: &[OsString]) -> Result<(Values, Vec<String>), Failure> {
        let Configured { config, origin, .. } = configured(line)?;
        self.check_trust(&config.bindings)?;
        let log = config.log.differs(&self.config.log);
        // The last thing that can fail.
        config.log.change()?;
        self.config.log = config.log;
        let mut changed = self.apply(config.bindings);
        self.dev.change(config.dev.as_ref()).await;
        changed.extend(log.then(|| "another log filter".to_owned()));
        Ok((origin.values, changed))
    }

    fn status(&self) -> String {
        self.config.describe()
    }
}

impl Serving {
    /// Shows how the bindings are doing that there are.
    pub(super) fn show(&self) {
        self.links.replace(self.bindings.links());
    }

    /// Whom to trust is read at the start only.
    fn check_trust(&self, bindings: &[Bound]) -> Result<(), Failure> {
        let judges = self
            .config
            .trust
            .tls
            .as_ref()
            .is_some_and(Tls::judges_peers);
        match bindings.iter().find(|bound| door::is_tls(&bound.address)) {
            Some(bound) if !judges => Err(Failure::Config(format!(
                "the binding {} goes to {}, and whom to trust there (--tls-ca or --tls-pin) was not said \
                 at the start; restart",
                bound.name, bound.address
            ))),
            _ => Ok(()),
        }
    }

    /// Makes these the bindings. One that is as it was keeps its connection and its count of names.
    fn apply(&mut self, now: Vec<Bound>) -> Vec<String> {
        let (mut added, mut altered) = (Vec::new(), Vec::new());
        let by_name = |all: &'_ [Bound]| -> HashMap<String, usize> {
            let names = all.iter().enumerate();
            names.map(|(i, bound)| (bound.name.clone(), i)).collect()
        };
        let before = &self.config.bindings;
        let (old, new) = (by_name(before), by_name(&now));
        let gone = before.iter().filter(|old| !new.contains_key(&old.name));
        let gone: Vec<String> = gone.map(|bound| bound.name.clone()).collect();
        for bound in &now {
            match old.get(&bound.name).map(|i| &before[*i]) {
                Some(old) if old == bound => continue,
                Some(_) => altered.push(bound.name.clone()),
                None => added.push(bound.name.clone()),
            }
            self.bindings.proxy(&bound.name, proxy(bound, &self.config));
        }
        for name in &gone {
            self.bindings.remove(name);
        }
        self.show();
        self.config.bindings = now;
        let changed = [
            named("added", &added),
            named("changed", &altered),
            named("removed", &gone),
        ];
        changed.into_iter().flatten().collect()
    }
}
