//! Invocations that began before somebody began to look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use binding_span::InvocationId;

use crate::{Event, EventKind};

/// Events that are kept of invocations that are open; beyond it those of the oldest are forgotten.
const EVENTS: usize = 65_536;

/// Keeps the events of invocations whose outcome has not come.
#[derive(Debug, Default)]
pub struct Begun {
    open: HashMap<InvocationId, Vec<(u64, Arc<Event>)>>,
    came: u64,
    held: usize,
}

impl Begun {
    /// An event happened before the time.
    pub fn event(&mut self, event: Arc<Event>) {
        let id = event.invocation_id;
        if matches!(event.event, EventKind::Outcome { .. }) {
            self.held -= self.open.remove(&id).map_or(0, |events| events.len());
            return;
        }
        if self.held >= EVENTS {
            self.forget();
        }
        self.came += 1;
        self.held += 1;
        self.open.entry(id).or_default().push((self.came, event));
    }

    /// What is left, in the order in which it came.
    pub fn take(&mut self) -> Vec<Arc<Event>> {
        self.held = 0;
        let mut events: Vec<_> = self.open.drain().flat_map(|(_, events)| events).collect();
        events.sort_by_key(|(came, _)| *came);
        events.into_iter().map(|(_, event)| event).collect()
    }

    fn forget(&mut self) {
        let first = |events: &Vec<(u64, Arc<Event>)>| events.first().map_or(0, |(came, _)| *came);
        let oldest = self.open.iter().min_by_key(|(_, events)| first(events));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.held -= self.open.remove(&id).map_or(0, |events| events.len());
        }
    }
}

/// Lets events pass from a time on, and before them the events of invocations that are open then: what a
/// [`History`](super::History) does for its readers, for events from a file.
#[derive(Debug, Default)]
pub struct Since {
    /// `None`: the time has come.
    time: Option<SystemTime>,
    begun: Begun,
}

impl Since {
    /// From a time on, or from the beginning.
    pub fn new(time: Option<SystemTime>) -> Self {
        Self {
            time,
            begun: Begun::default(),
        }
    }

    /// An event came; what passes now.
    pub fn event(&mut self, event: Arc<Event>) -> Vec<Arc<Event>> {
        match self.time {
            Some(time) if event.timestamp < time => {
                self.begun.event(event);
                Vec::new()
            }
            Some(_) => {
                self.time = None;
                let mut events = self.begun.take();
                events.push(event);
                events
            }
            None => vec![event],
        }
    }
}
