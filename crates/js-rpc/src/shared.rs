//! What everything in one server or one connection shares.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use binding_span::{Policy, Sinks};
use tokio::sync::Notify;

use crate::RpcLimits;
use crate::deadlines::Deadlines;
use crate::observers::Observers;

/// Sinks, limits, and how many calls are being served.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sinks: SinkList,
    pub(crate) limits: RpcLimits,
    /// How far peers are trusted whose objects came as arguments.
    pub(crate) policy: Arc<Policy>,
    pub(crate) deadlines: Rc<Deadlines>,
    /// Those of the peers that are given objects of a caller's.
    pub(crate) observers: Observers,
    /// The default policies of the bindings asked for so far, with the names that each has seen.
    policies: RefCell<HashMap<Rc<str>, Arc<Policy>>>,
    in_flight: Cell<usize>,
    draining: Cell<bool>,
    idle: Notify,
}

/// Bindings whose default policies are remembered.
const MAX_POLICIES: usize = 256;

/// Held for its drop: something that must live on, such as a session.
pub(crate) type KeepAlive = Rc<dyn Any>;

/// [`Sinks`] with a `Debug` that says how many.
pub(crate) struct SinkList(pub(crate) Sinks);

impl std::fmt::Debug for SinkList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sinks", self.0.len())
    }
}

impl Shared {
    /// On a runtime that can spawn local tasks.
    pub(crate) fn new(sinks: Sinks, limits: RpcLimits) -> Rc<Self> {
        Rc::new(Self {
            sinks: SinkList(sinks),
            limits,
            policy: Arc::default(),
            deadlines: Deadlines::start(),
            observers: Observers::default(),
            policies: RefCell::default(),
            in_flight: Cell::new(0),
            draining: Cell::new(false),
            idle: Notify::new(),
        })
    }

    /// The policy of a binding for which nobody gives one: the same one each time it is asked for, so
    /// that its distinct names are counted and not forgotten.
    pub(crate) fn default_policy(&self, name: &Rc<str>) -> Arc<Policy> {
        let mut policies = self.policies.borrow_mut();
        if policies.len() >= MAX_POLICIES && !policies.contains_key(name) {
            policies.clear();
        }
        Arc::clone(policies.entry(Rc::clone(name)).or_default())
    }

    pub(crate) fn sinks(&self) -> &Sinks {
        &self.sinks.0
    }

    /// Counts a call as in flight until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }

    /// From now on no session begins.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Completes when no call is in flight.
    pub(crate) async fn idle(&self) {
        while self.in_flight.get() > 0 {
            self.idle.notified().await;
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }
}

#[derive(Debug)]
pub(crate) struct InFlight(Rc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.get() - 1;
        self.0.in_flight.set(left);
        if left == 0 {
            self.0.idle.notify_waiters();
        }
    }
}
