//! What a server serves, by name, and how that changes while it runs.
//!
//! A name is looked up when a session begins: a session that is open keeps what it began with, the next
//! one on the same connection finds what is there by then.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::TailReceiver;
use crate::client::{Binding, Link};
use crate::object::Service;
use crate::proxy::Proxy;
use crate::shared::{InFlight, Shared};

/// The bindings of a [`Server`](crate::Server): a handle, whose clones are the same bindings. It belongs
/// to the thread that serves.
#[derive(Clone, Default)]
pub struct Bindings(Rc<Inner>);

#[derive(Default)]
struct Inner {
    entries: RefCell<HashMap<Rc<str>, Entry>>,
    /// Set when the server runs.
    shared: OnceCell<Rc<Shared>>,
}

/// A call that has begun to arrive; see [`Bindings::begin`].
#[derive(Debug)]
pub struct Begun(#[allow(dead_code, reason = "held for its drop")] InFlight);

/// What stands behind a binding's name.
#[derive(Clone)]
pub(crate) enum Entry {
    Service(Rc<dyn Service>),
    Proxy(Rc<Proxy>),
    Tail(Rc<dyn TailReceiver>),
}

impl Bindings {
    /// Serves a service as the binding `name` from now on, instead of what had that name.
    pub fn service(&self, name: &str, service: impl Service) {
        self.put(name, Entry::Service(Rc::new(service)));
    }

    /// Passes calls of the binding `name` on from now on, instead of what had that name.
    pub fn proxy(&self, name: &str, proxy: Proxy) {
        self.put(name, Entry::Proxy(Rc::new(proxy)));
    }

    /// Takes tail events as the service `name` from now on, instead of what had that name.
    pub fn tail(&self, name: &str, receiver: impl TailReceiver) {
        self.put(name, Entry::Tail(Rc::new(receiver)));
    }

    /// No session of the binding `name` begins any more. Whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.0.entries.borrow_mut().remove(name);
        // Dropped when nothing is borrowed: what it drops is not ours to know.
        removed.is_some()
    }

    /// The names that can be asked for, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = self.0.entries.borrow();
        let mut names: Vec<String> = entries.keys().map(|name| name.to_string()).collect();
        names.sort_unstable();
        names
    }

    /// The connections of those bindings that are passed on, sorted by the bindings' names.
    pub fn links(&self) -> Vec<(String, Link)> {
        let entries = self.0.entries.borrow();
        let mut links: Vec<(String, Link)> = entries
            .iter()
            .filter_map(|(name, entry)| match entry {
                Entry::Proxy(proxy) => Some((name.to_string(), proxy.link())),
                Entry::Service(_) | Entry::Tail(_) => None,
            })
            .collect();
        links.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        links
    }

    fn put(&self, name: &str, entry: Entry) {
        let before = self.0.entries.borrow_mut().insert(name.into(), entry);
        drop(before);
    }

    /// The server runs, with this.
    pub(super) fn run(&self, shared: &Rc<Shared>) {
        let _ = self.0.shared.set(Rc::clone(shared));
    }

    /// The binding `name` for calls from within this process, which are passed on like any other: to its callee,
    /// under its policy and deadline, with a span. `None` where there is no such binding, where its calls are not
    /// passed on, and before the server runs.
    pub fn proxied(&self, name: &str) -> Option<Binding> {
        let entries = self.0.entries.borrow();
        let (name, entry) = entries.get_key_value(name)?;
        match entry {
            Entry::Proxy(proxy) => Some(proxy.binding(self.0.shared.get()?, name)),
            Entry::Service(_) | Entry::Tail(_) => None,
        }
    }

    /// Counts a call as in flight although not all of it has arrived, until what is returned is dropped: a server
    /// that shuts down waits for it, and [takes it](crate::CallBuilder::begun). `None` before the server runs, and
    /// when it shuts down already.
    pub fn begin(&self) -> Option<Begun> {
        let shared = self.0.shared.get()?;
        (!shared.is_draining()).then(|| Begun(shared.enter()))
    }

    /// The only binding there is to call, or how many there are.
    #[cfg(feature = "fetch")]
    pub(super) fn sole(&self) -> Result<(Rc<str>, Entry), usize> {
        let entries = self.0.entries.borrow();
        let mut callable = entries
            .iter()
            .filter(|(_, entry)| !matches!(entry, Entry::Tail(_)));
        match (callable.next(), callable.count()) {
            (Some((name, entry)), 0) => Ok((Rc::clone(name), entry.clone())),
            (Some(_), more) => Err(1 + more),
            (None, _) => Err(0),
        }
    }

    /// The binding of that name, unless it is another than the `only` one that may be asked for.
    ///
    /// # Errors
    /// What there is instead: never the name of a binding that may not be asked for.
    pub(super) fn find(&self, name: &str, only: Option<&str>) -> Result<(Rc<str>, Entry), String> {
        let may = |name: &str| only.is_none_or(|only| only == name);
        let found = self.0.entries.borrow();
        if let Some((name, entry)) = found.get_key_value(name).filter(|(name, _)| may(name)) {
            return Ok((Rc::clone(name), entry.clone()));
        }
        drop(found);
        let shown: String = name.escape_debug().take(80).collect();
        let mut names = self.names();
        names.retain(|name| may(name));
        Err(format!(
            "there is no binding \"{shown}\" here; there is: {}",
            names.join(", ")
        ))
    }
}

impl std::fmt::Debug for Bindings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
