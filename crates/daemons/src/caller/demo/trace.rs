//! The spans of both processes as one tree, with what a newcomer should look at.

use std::collections::HashSet;

use binding_span::{Attribute, TraceId};
use tail::{Event, EventKind, FinishedSpan, Tree};

use super::super::is_protocol;
use super::unexpected;
use crate::exit::Failure;

/// What the first database span shows and further ones repeat.
const REPEATED: [&str; 7] = [
    "db.system.name",
    "db.namespace",
    "cloudflare.binding.type",
    "cloudflare.d1.response.changed_db",
    "cloudflare.d1.response.last_row_id",
    "cloudflare.d1.response.size_after",
    "cloudflare.d1.response.sql_duration_ms",
];

/// The spans of this process that are shown.
#[derive(Default)]
pub(super) struct Trace {
    spans: Vec<FinishedSpan>,
    shown: HashSet<TraceId>,
}

impl Trace {
    /// Shows the spans of a step, below each other if they are of one trace.
    pub(super) fn add(&mut self, spans: &[FinishedSpan]) {
        let first = self.spans.is_empty();
        for span in spans {
            let mut span = span.clone();
            span.attributes.retain(|a| worth_showing(a, first));
            self.shown.insert(span.context.trace_id);
            self.spans.push(span);
        }
    }

    /// The tree of these spans and of the callee's, which it told in JSON lines.
    pub(super) fn merge(&self, callee: &[u8]) -> Result<Tree, Failure> {
        let mut tree: Tree = self.spans.iter().collect();
        let mut events = 0;
        for line in callee
            .split(|&byte| byte == b'\n')
            .filter(|l| !l.is_empty())
        {
            let line = std::str::from_utf8(line).map_err(unexpected)?;
            let mut event = Event::from_line(line).map_err(unexpected)?;
            if !self.shown.contains(&event.span_context.trace_id) {
                continue;
            }
            if let EventKind::Attributes { info } = &mut event.event {
                info.retain(|a| worth_showing(a, false));
            }
            tree.add_event("callee", &event);
            events += 1;
        }
        match events {
            0 => Err(unexpected("the callee told nothing of its own spans")),
            _ => Ok(tree),
        }
    }
}

fn worth_showing(attribute: &Attribute, first: bool) -> bool {
    let key = attribute.key.as_ref();
    !is_protocol(key) && (first || !REPEATED.contains(&key))
}
