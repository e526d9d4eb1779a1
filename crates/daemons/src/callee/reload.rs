//! What of a callee can change while it serves: its databases, and what it logs.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;

use bindings::d1::IsolatedDatabase;
use js_rpc::Bindings;

use super::{Configured, DatabaseConfig, configured, describe};
use crate::config::Values;
use crate::dev_registry::DevRegistry;
use crate::exit::Failure;
use crate::log::LogArgs;
use crate::metrics;
use crate::reload::{Reload, named};

/// The databases that are served; those that were removed end with their last session.
pub(super) type Databases = Rc<RefCell<Vec<(DatabaseConfig, IsolatedDatabase)>>>;

/// A callee that serves.
pub(super) struct Serving {
    pub(super) bindings: Bindings,
    pub(super) databases: Databases,
    /// How they are doing, as the admin port shows it.
    pub(super) statuses: metrics::Databases,
    /// How it is found in local development.
    pub(super) dev: DevRegistry,
    pub(super) log: LogArgs,
}

impl Reload for Serving {
    fn can_change(&self) -> Vec<String> {
        let names = ["--d1", "--d1-create", "--dev-name", "--log"];
        names.map(str::to_owned).into()
    }

    async fn reload(&mut self, line: &[OsString]) -> Result<(Values, Vec<String>), Failure> {
        let Configured { config, origin, .. } = configured(line)?;
        config.log.check()?;
        let opened = self.open(&config.databases).await?;
        config.log.change()?;
        let log = config.log.differs(&self.log);
        self.log = config.log;
        let mut changed = self.apply(&config.databases, opened);
        self.show();
        self.dev.change(config.dev.as_ref()).await;
        changed.extend(self.statuses.failing());
        changed.extend(log.then(|| "another log filter".to_owned()));
        Ok((origin.values, changed))
    }

    async fn reopen(&mut self) -> Vec<String> {
        let databases = self.databases.borrow().clone();
        let mut said = Vec::new();
        for (config, database) in databases {
            if database.status().failing().is_none() {
                continue;
            }
            said.push(match database.reopen().await {
                Ok(()) => format!("{} is opened again", config.binding),
                Err(why) => format!("{} cannot be opened again: {why}", config.binding),
            });
        }
        said
    }

    fn status(&self) -> String {
        let mut status = describe(&self.databases.borrow());
        for failing in self.statuses.failing() {
            status.push_str("; not usable: ");
            status.push_str(&failing);
        }
        status
    }
}

impl Serving {
    /// Shows how the databases that are served are doing.
    pub(super) fn show(&self) {
        let databases = self.databases.borrow();
        let each = databases.iter();
        let each = each.map(|(config, open)| (config.binding.clone(), open.status()));
        self.statuses.replace(each.collect());
    }

    /// Opens those that are not served yet, or from another file.
    async fn open(
        &self,
        now: &[DatabaseConfig],
    ) -> Result<Vec<(DatabaseConfig, IsolatedDatabase)>, Failure> {
        let is_served = |new: &DatabaseConfig| {
            let databases = self.databases.borrow();
            databases.iter().any(|(old, _)| old.is_same(new))
        };
        let mut opened = Vec::new();
        for config in now.iter().filter(|config| !is_served(config)) {
            opened.push(config.clone().open().await?);
        }
        Ok(opened)
    }

    fn apply(
        &self,
        now: &[DatabaseConfig],
        opened: Vec<(DatabaseConfig, IsolatedDatabase)>,
    ) -> Vec<String> {
        let (mut added, mut altered, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut databases = self.databases.borrow_mut();
        databases.retain(|(old, _)| {
            let stays = now.iter().any(|new| new.binding == old.binding);
            if !stays {
                self.bindings.remove(&old.binding);
                gone.push(old.binding.clone());
            }
            stays
        });
        for (config, database) in opened {
            let name = config.binding.clone();
            self.bindings.service(&name, database.clone());
            match databases.iter_mut().find(|(old, _)| old.binding == name) {
                Some(old) => {
                    *old = (config, database);
                    altered.push(name);
                }
                None => {
                    databases.push((config, database));
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
