//! The development registry of wrangler, miniflare and the Vite plugin: a directory in which each Worker that is being
//! developed on this machine has a file that says where it is. A daemon can be in it, and a call can go by it.
//!
//! Here is what the daemons and `call` need; the format is in `entry`, how entries are kept in `registration`, where the
//! directories are in `directories`.

mod args;
mod directories;
mod entry;
mod registration;

use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;

use js_rpc::{Address, Listener};

use crate::cli::SwitchOrPath;
use crate::door::Admission;
use crate::exit::Failure;
use crate::{listen, log};
use directories::Environment;
use entry::{Entry, Found};
use registration::Registration;

pub use args::{DevArgs, DevName, DevPlan};

/// A daemon's entries, if it has some: they are there until it leaves, or the last clone of this is dropped.
#[derive(Clone, Default)]
pub(crate) struct DevRegistry(Option<Rc<Registration>>);

impl DevRegistry {
    /// Enters what is planned, for `program`, and logs it. Who finds an entry comes to one of these listeners, or to one more that
    /// this adds to them.
    ///
    /// # Errors
    /// [`Failure::Config`] when there is no such listener and none can be made, or a directory cannot be made.
    pub(crate) async fn enter(
        plan: Option<&DevPlan>,
        program: &str,
        listeners: &mut Vec<Listener>,
        admission: &Admission,
    ) -> Result<Self, Failure> {
        let Some(plan) = plan else {
            return Ok(Self::default());
        };
        for directory in &plan.directories {
            std::fs::create_dir_all(directory).map_err(|error| {
                let directory = directory.display();
                Failure::Config(format!(
                    "--dev-registry: the directory {directory} cannot be made: {error}; name another one: \
                     --dev-registry=DIR"
                ))
            })?;
        }
        let address = match listeners.iter().find_map(fitting) {
            Some(address) => address,
            None => {
                let here = Address::Tcp {
                    host: "127.0.0.1".into(),
                    port: 0,
                };
                let listener = Listener::bind_with(&here, &admission.options).await?;
                let address = listener.address().to_string();
                listeners.push(listener);
                address
            }
        };
        let owner = format!("{program}, process {}", std::process::id());
        let registration = Registration::start(plan.directories.clone(), address.clone(), owner);
        let registration =
            registration.map_err(|error| Failure::Config(format!("--dev-registry: {error}")))?;
        let blocked = registration.enter(plan.names.clone()).await;
        let is_there = |(name, _): &&(String, String)| blocked.iter().all(|no| no.name != *name);
        let names = plan.names.iter().filter(is_there).cloned().collect();
        announce(
            program,
            &DevPlan {
                names,
                ..plan.clone()
            },
            &address,
        );
        Ok(Self(Some(Rc::new(registration))))
    }

    /// Makes what is planned now the entries. Those that cannot be there are said in the log.
    pub(crate) async fn change(&self, plan: Option<&DevPlan>) {
        if let (Some(registration), Some(plan)) = (&self.0, plan) {
            registration.enter(plan.names.clone()).await;
        }
    }

    /// Removes the entries when `shutdown` completes: nobody is to come any more.
    pub(crate) async fn until(&self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        if let Some(registration) = &self.0 {
            registration.leave();
        }
    }
}

/// Says where the entries are, and where they lead.
fn announce(program: &str, plan: &DevPlan, address: &str) {
    if plan.names.is_empty() {
        return;
    }
    let names = plan
        .names
        .iter()
        .map(|(name, binding)| match name == binding {
            true => name.clone(),
            false => format!("{binding} as {name}"),
        });
    let names: Vec<String> = names.collect();
    let all = plan
        .directories
        .iter()
        .map(|path| path.display().to_string());
    let all: Vec<String> = all.collect();
    let line = format!(
        "for local development, {} at {address}, by the entries in {}",
        names.join(", "),
        all.join(" and ")
    );
    log::say(program, tracing::Level::INFO, &line);
}

/// The address of a listener that others on this machine can come to without TLS, for any binding.
fn fitting(listener: &Listener) -> Option<String> {
    let address = listener.address();
    let here = matches!(address, Address::Tcp { .. }) && !listen::is_public(address);
    (here && listener.binding().is_none()).then(|| address.to_string())
}

/// Where a Worker in development is.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) address: Address,
    /// The name that it has there: `service` or `service#Entrypoint`.
    pub(crate) service: String,
    /// What to say if nobody is there.
    pub(crate) gone: String,
}

/// Looks up `NAME` or `NAME#Entrypoint`.
///
/// # Errors
/// [`Failure::Unavailable`] when there is no registry, no such name, or an entry that nobody looks after or that
/// leads to another machine.
pub(crate) fn find(said: &SwitchOrPath, target: &str) -> Result<Resolved, Failure> {
    let directories = directories::find(said, &Environment::of_process())?;
    let (name, entrypoint) = target.split_once('#').unwrap_or((target, ""));
    entry::check_name(name).map_err(Failure::Usage)?;
    let mut old = None;
    for directory in &directories {
        let path = directory.join(name);
        let shown = path.display();
        let found = Entry::read(&path).map_err(|error| {
            Failure::Unavailable(format!("the entry {shown} cannot be read: {error}"))
        })?;
        match found {
            Some(found) if found.stale().is_some() => old = old.or(Some((path, found))),
            Some(Found {
                entry: Some(entry), ..
            }) => return reach(name, entrypoint, &entry),
            Some(Found { entry: None, .. }) => {
                return Err(Failure::Unavailable(format!(
                    "the entry {shown} is not one that this version can read; wrangler 4 writes such as it can"
                )));
            }
            None => {}
        }
    }
    Err(Failure::Unavailable(match old {
        Some((path, found)) => {
            let age = found.stale().unwrap_or_default().as_secs();
            format!(
                "{name} is in development no more: its entry {} was last touched {} ago, by {}; start its session \
                 again",
                path.display(),
                humantime::format_duration(std::time::Duration::from_secs(age)),
                found.describe()
            )
        }
        None => nobody(name, &directories)?,
    }))
}

fn reach(name: &str, entrypoint: &str, entry: &Entry) -> Result<Resolved, Failure> {
    let unusable = |why: &str| {
        let at = entry.address.escape_debug();
        Failure::Unavailable(format!("the entry of {name} leads to {at}, {why}"))
    };
    let address: Address = entry
        .address
        .parse()
        .map_err(|_| unusable("which is no address"))?;
    // A registry is about this machine, and what stands in it is not encrypted.
    let is_here = match &address {
        Address::Tcp { host, .. } => host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback()),
        Address::Unix(_) => true,
        Address::Tls { .. } => false,
    };
    if !is_here {
        return Err(unusable(
            "which is not on this machine; call it with --connect",
        ));
    }
    let (service, behind) = match entrypoint {
        "" | "default" => (&entry.default_service, String::new()),
        entrypoint => (&entry.user_service, format!("#{entrypoint}")),
    };
    if service.is_empty() {
        return Err(unusable("and names no service there"));
    }
    Ok(Resolved {
        service: format!("{service}{behind}"),
        gone: format!(
            "{name} is in the development registry, by {}, and nobody listens there: its session ended without \
             leaving; start it again",
            entry.describe()
        ),
        address,
    })
}

/// Why a name is not found.
fn nobody(name: &str, directories: &[PathBuf]) -> Result<String, Failure> {
    let mut names = Vec::new();
    let mut is_there = false;
    for directory in directories {
        is_there |= directory.is_dir();
        let more = entry::names(directory).map_err(|error| {
            let shown = directory.display();
            Failure::Unavailable(format!(
                "the development registry {shown} cannot be read: {error}"
            ))
        })?;
        names.extend(more);
    }
    names.sort_unstable();
    names.dedup();
    let names: Vec<String> = names
        .iter()
        .map(|name| name.escape_debug().to_string())
        .collect();
    let shown: Vec<String> = directories
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let shown = shown.join(" or ");
    Ok(match (is_there, names.is_empty()) {
        (false, _) => format!(
            "there is no development registry at {shown}: start `wrangler dev`, or a daemon with --dev-registry"
        ),
        (true, true) => format!(
            "there is no {name:?} in the development registry at {shown}, nor anybody else: start `wrangler dev`, \
             or a daemon with --dev-registry"
        ),
        (true, false) => format!(
            "there is no {name:?} in the development registry at {shown}; there is: {}",
            names.join(", ")
        ),
    })
}
