//! How the connections of bindings to their callees are doing: as gauges, and as lines for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use host::metrics::label;
use js_rpc::{Link, LinkState};

/// The connections of bindings, by the bindings' names. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links(Arc<Mutex<Vec<(String, Link)>>>);

/// Bytes of what is said of a failure.
const REASON: usize = 300;

impl Links {
    /// These are the bindings from now on.
    pub(crate) fn replace(&self, links: Vec<(String, Link)>) {
        *self.lock() = links;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Link)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each binding's label, whether it is connected, and whether that fails. No label comes twice.
    pub(super) fn rows(&self) -> Vec<(String, bool, bool)> {
        let mut rows: Vec<(String, bool, bool)> = Vec::new();
        for (name, link) in &*self.lock() {
            let (label, state) = (label(name), link.state());
            let connected = matches!(state, LinkState::Connected { .. });
            let failing = matches!(state, LinkState::Failing { .. });
            match rows.iter_mut().find(|(known, ..)| *known == label) {
                Some((_, all, any)) => (*all, *any) = (*all && connected, *any || failing),
                None => rows.push((label, connected, failing)),
            }
        }
        rows
    }

    /// A line for each binding, without characters that a terminal would act on.
    pub(crate) fn lines(&self) -> Vec<String> {
        let links = self.lock();
        let lines = links.iter();
        lines
            .map(|(name, link)| format!("{}: {}", tail::escape(name), described(link.state())))
            .collect()
    }
}

fn described(state: LinkState) -> String {
    let ago = |time: Instant| tail::human_duration(time.elapsed());
    match state {
        LinkState::Unused => "not connected yet; the first call connects".to_owned(),
        LinkState::Connected { since } => format!("connected for {}", ago(since)),
        LinkState::Lost { since } => format!(
            "not connected; the connection was lost {} ago, the next call connects again",
            ago(since)
        ),
        LinkState::Failing {
            since,
            last,
            kind,
            message,
        } => {
            let text = tail::escape(&message);
            let reason = &text[..text.floor_char_boundary(REASON)];
            let (since, last) = (ago(since), ago(last));
            let kind = tail::escape(&kind);
            format!("failing for {since}, last tried {last} ago: {kind}: {reason}")
        }
    }
}
