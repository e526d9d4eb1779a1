//! What of a callee can change while it serves: its bindings, and what it logs.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;

use js_rpc::Bindings;

use super::offered::{Offered, describe};
use super::plain_urls::PlainUrls;
use super::{BindingConfig, Configured, configured};
use crate::config::Values;
use crate::dev_registry::DevRegistry;
use crate::exit::Failure;
use crate::log::LogArgs;
use crate::metrics;
use crate::reload::{Reload, named};

/// The bindings that are served; those that were removed end with their last session.
pub(super) type AllOffered = Rc<RefCell<Vec<Offered>>>;

/// A callee that serves.
pub(super) struct Serving {
    pub(super) bindings: Bindings,
    pub(super) offered: AllOffered,
    /// How the databases among them are doing, as the admin port shows it.
    pub(super) databases: metrics::Databases,
    /// The same of models.
    pub(super) models: metrics::Models,
    /// How it is found in local development.
    pub(super) dev: DevRegistry,
    pub(super) log: LogArgs,
    /// Where clients of plain HTTP connect.
    pub(super) urls: PlainUrls,
}

impl Reload for Serving {
    fn can_change(&self) -> Vec<String> {
        let names = [
            "--d1",
            "--d1-create",
            "--ai",
            "--ai-log",
            "--ai-public-url",
            "--dev-name",
            "--log",
        ];
        names.map(str::to_owned).into()
    }

    async fn reload(&mut self, line: &[OsString]) -> Result<(Values, Vec<String>), Failure> {
        let Configured { config, origin, .. } = configured(line)?;
        config.log.check()?;
        let opened = self.open(&config.bindings).await?;
        config.log.change()?;
        let log = config.log.differs(&self.log);
        self.log = config.log;
        let mut changed = self.apply(&config.bindings, opened);
        self.show();
        self.dev.change(config.dev.as_ref()).await;
        changed.extend(self.databases.failing());
        changed.extend(log.then(|| "another log filter".to_owned()));
        Ok((origin.values, changed))
    }

    async fn reopen(&mut self) -> Vec<String> {
        let offered = self.offered.borrow().clone();
        let mut said = Vec::new();
        for each in offered {
            said.extend(each.reopen().await);
        }
        said
    }

    fn status(&self) -> String {
        let mut status = describe(&self.offered.borrow());
        for failing in self.databases.failing() {
            status.push_str("; not usable: ");
            status.push_str(&failing);
        }
        for failing in self.models.failing() {
            status.push_str("; ");
            status.push_str(&failing);
        }
        status
    }
}

impl Serving {
    /// Shows how the bindings that are served are doing, and them where they are reached.
    pub(super) fn show(&self) {
        let offered = self.offered.borrow();
        let databases = offered.iter().filter_map(Offered::database);
        self.databases.replace(databases.collect());
        let models = offered.iter().filter_map(Offered::models);
        self.models.replace(models.collect());
        for each in offered.iter() {
            let url = self.urls.of(each.name(), offered.len() == 1);
            each.reached_at(url.map(str::to_owned));
        }
    }

    /// Opens those that are not served yet, or not in this way.
    async fn open(&self, now: &[BindingConfig]) -> Result<Vec<Offered>, Failure> {
        let is_served = |new: &BindingConfig| {
            let offered = self.offered.borrow();
            offered.iter().any(|old| old.config.is_same(new))
        };
        let mut opened = Vec::new();
        for config in now.iter().filter(|config| !is_served(config)) {
            opened.push(config.clone().open(&self.models).await?);
        }
        Ok(opened)
    }

    fn apply(&self, now: &[BindingConfig], opened: Vec<Offered>) -> Vec<String> {
        let (mut added, mut altered, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut offered = self.offered.borrow_mut();
        offered.retain(|old| {
            let stays = now.iter().any(|new| new.name() == old.name());
            if !stays {
                self.bindings.remove(old.name());
                gone.push(old.name().to_owned());
            }
            stays
        });
        for new in opened {
            let name = new.name().to_owned();
            new.serve(&self.bindings);
            match offered.iter_mut().find(|old| old.name() == name) {
                Some(old) => {
                    *old = new;
                    altered.push(name);
                }
                None => {
                    offered.push(new);
                    added.push(name);
                }
            }
        }
        let changed = [
            named("added", &added),
            named("changed", &altered),
            named("removed", &gone),
        ];
        changed.into_iter().flatten().collect()
    }
}
