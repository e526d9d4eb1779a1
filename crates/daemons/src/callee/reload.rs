//! What of a callee can change while it serves: its bindings, and what it logs.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;

use js_rpc::Bindings;

use super::offered::{Open, describe, show};
use super::plain_urls::PlainUrls;
use super::{BindingConfig, Configured, configured};
use crate::config::Values;
use crate::dev_registry::DevRegistry;
use crate::exit::Failure;
use crate::kinds::{self, Meters};
use crate::log::LogArgs;
use crate::reload::{Reload, named};

/// The bindings that are served; those that were removed end with their last session.
pub(super) type AllOffered = Rc<RefCell<Vec<Open>>>;

/// A callee that serves.
pub(super) struct Serving {
    pub(super) bindings: Bindings,
    pub(super) offered: AllOffered,
    /// How they are doing, as the admin port shows it.
    pub(super) meters: Meters,
    /// How it is found in local development.
    pub(super) dev: DevRegistry,
    pub(super) log: LogArgs,
    /// Where clients of plain HTTP connect.
    pub(super) urls: PlainUrls,
}

impl Reload for Serving {
    fn can_change(&self) -> Vec<String> {
        let of_kinds = kinds::all().iter().flat_map(|kind| kind.reloadable());
        let names = of_kinds.chain(&["--dev-name", "--log"]);
        names.map(|name| (*name).to_owned()).collect()
    }

    async fn reload(&mut self, line: &[OsString]) -> Result<(Values, Vec<String>), Failure> {
        let Configured { config, origin, .. } = configured(line)?;
        config.log.check()?;
        let names: Vec<String> = config.served().into_iter().map(str::to_owned).collect();
        let opened = self.open(config.bindings).await?;
        config.log.change()?;
        let log = config.log.differs(&self.log);
        self.log = config.log;
        let mut changed = self.apply(&names, opened);
        self.show();
        self.dev.change(config.dev.as_ref()).await;
        changed.extend(self.meters.unusable());
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
        for failing in self.meters.unusable() {
            status.push_str("; not usable: ");
            status.push_str(&failing);
        }
        for failing in self.meters.impaired() {
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
        show(&offered, &self.meters);
        for each in offered.iter() {
            let url = self.urls.of(each.name(), offered.len() == 1);
            each.reached_at(url.map(str::to_owned));
        }
    }

    /// Opens those that are not served yet, or not in this way.
    async fn open(&self, now: Vec<BindingConfig>) -> Result<Vec<Open>, Failure> {
        let is_served = |new: &BindingConfig| {
            let offered = self.offered.borrow();
            offered.iter().any(|old| old.is_as(new))
        };
        let mut opened = Vec::new();
        for config in now.into_iter().filter(|config| !is_served(config)) {
            opened.push(config.open(&self.meters).await?);
        }
        Ok(opened)
    }

    fn apply(&self, now: &[String], opened: Vec<Open>) -> Vec<String> {
        let (mut added, mut altered, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut offered = self.offered.borrow_mut();
        offered.retain(|old| {
            let stays = now.iter().any(|new| new == old.name());
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
