//! What an event does to the tree.

use std::time::SystemTime;

use binding_span::{Attribute, Dropped, SpanId};

use super::{Key, MAX_SPANS, Node, Stream, Tree};
use crate::recorder::upsert;
use crate::{
    Event, EventKind, Onset, ReturnInfo, SESSION_NAME, SPAN_NAME, SpanChange, SpanError, SpanInfo,
    StatusCode,
};

/// Attributes that a span keeps here. A caller's limits keep below it; this is for files.
const MAX_ATTRIBUTES: usize = 1024;
/// Lines of logs that a span keeps here, and bytes of each.
const LINES: usize = 16;
const SAID: usize = 4096;
/// Bytes of them that all spans together keep.
const SAID_BYTES: usize = 16 * 1024 * 1024;

impl Tree {
    pub(super) fn collect(&mut self, source: usize, event: &Event) {
        let stream = (source, event.invocation_id);
        let context = event.span_context;
        let time = event.timestamp;
        let key = context.span_id.map(|span| (context.trace_id, span));
        match &event.event {
            EventKind::Onset(onset) => self.onset(stream, event, onset),
            EventKind::SpanOpen {
                name,
                span_id,
                info,
            } => {
                if let Some(parent) = self.unfinished(key) {
                    parent.fronts = true;
                }
                let mut node = Node::new(stream, context.span_id, name.clone(), time);
                node.about = info.as_ref().and_then(SpanInfo::summary);
                node.tag(info.as_ref().map_or(&[], SpanInfo::attributes));
                self.add((context.trace_id, *span_id), node);
            }
            EventKind::Attributes { info } => {
                if let Some(node) = self.unfinished(key) {
                    node.anchor = false;
                    node.tag(info);
                }
            }
            EventKind::SpanUpdate { info } => {
                if let Some(node) = self.unfinished(key) {
                    node.anchor = false;
                    node.update(info);
                }
            }
            EventKind::Log(log) => {
                self.said(key, &log.level, || log.text(SAID));
            }
            EventKind::DiagnosticChannel(message) => {
                let text = || message.json().unwrap_or_default().to_string();
                self.said(key, &message.channel, text);
            }
            EventKind::Exception { name, message, .. } => {
                if let Some(node) = self.unfinished(key) {
                    node.anchor = false;
                    node.error = Some(SpanError {
                        kind: name.clone(),
                        message: message.clone(),
                    });
                }
            }
            EventKind::SpanClose { outcome } => {
                if let Some(node) = self.unfinished(key) {
                    node.outcome = Some(outcome.clone());
                    node.end = Some(time);
                }
            }
            EventKind::Return { info } => {
                if let Some(node) = self.of_stream(stream) {
                    node.end = Some(time);
                    if let Some(ReturnInfo::Fetch { status_code }) = info {
                        node.http_status = Some(*status_code);
                    }
                }
            }
            EventKind::Outcome { outcome, .. } => {
                if let Some(node) = self.of_stream(stream) {
                    node.outcome = Some(outcome.clone());
                    node.end.get_or_insert(time);
                }
                self.streams.remove(&stream);
            }
            EventKind::StreamDiagnostic { diagnostic } => {
                self.lost_events = self.lost_events.saturating_add(diagnostic.count);
            }
            EventKind::Unknown => {}
        }
    }

    /// Keeps a line of a log or a message, of which there may be many.
    fn said(&mut self, key: Option<Key>, who: &str, text: impl FnOnce() -> String) {
        let room = self.said < SAID_BYTES;
        if let Some(node) = self.unfinished(key) {
            node.anchor = false;
            if !room || node.said.len() >= LINES {
                node.unsaid += 1;
                return;
            }
            let mut text = text();
            text.truncate(text.floor_char_boundary(SAID));
            text.shrink_to_fit();
            let who = who[..who.floor_char_boundary(SAID)].to_owned();
            let bytes = who.len() + text.len();
            node.said.push((who, text));
            self.said += bytes;
        }
    }

    fn onset(&mut self, stream: Stream, event: &Event, onset: &Onset) {
        let key = (event.span_context.trace_id, onset.span_id);
        let caller = event.span_context.span_id;
        let jsrpc = onset.info.is_call();
        let name = if jsrpc {
            SESSION_NAME.to_owned()
        } else {
            onset.info.kind().to_owned()
        };
        let mut node = Node::new(stream, caller, name, event.timestamp);
        node.anchor = caller.is_none() && jsrpc && onset.attributes.is_empty();
        node.about = onset.info.summary();
        node.tag(&onset.attributes);
        node.original_name = node.name.clone();
        // What only stands in front of a span's children must not hide the span.
        if node.anchor && self.nodes.contains_key(&key) {
            return;
        }
        if self.add(key, node) && self.streams.len() < MAX_SPANS {
            self.streams.insert(stream, key);
        }
    }

    /// Whether it was added: a finished span stays as it is.
    fn add(&mut self, key: Key, mut node: Node) -> bool {
        if let Some(known) = self.nodes.get(&key) {
            if known.finished {
                return false;
            }
        } else if self.nodes.len() >= MAX_SPANS {
            self.overflow += 1;
            return false;
        }
        node.order = self.nodes.len();
        self.nodes.insert(key, node);
        true
    }

    fn unfinished(&mut self, key: Option<Key>) -> Option<&mut Node> {
        self.nodes.get_mut(&key?).filter(|node| !node.finished)
    }

    /// The span that the stream's onset stands for, if it does and nobody else opened it since.
    fn of_stream(&mut self, stream: Stream) -> Option<&mut Node> {
        let key = self.streams.get(&stream)?;
        let node = self.nodes.get_mut(key)?;
        (node.stream == Some(stream) && !node.finished).then_some(node)
    }
}

impl Node {
    fn new(stream: Stream, parent: Option<SpanId>, name: String, start: SystemTime) -> Self {
        Self {
            parent,
            source: Some(stream.0),
            stream: Some(stream),
            name: name.clone().into(),
            original_name: name.into(),
            attributes: Vec::new(),
            outcome: None,
            about: None,
            http_status: None,
            failed: None,
            said: Vec::new(),
            unsaid: 0,
            error: None,
            dropped: Dropped::default(),
            start,
            end: None,
            coarse: true,
            anchor: false,
            fronts: false,
            finished: false,
            order: 0,
        }
    }

    fn update(&mut self, change: &SpanChange) {
        match change {
            SpanChange::Name { name } => self.name = name.clone().into(),
            SpanChange::Status { status } => {
                let failed = status.code == StatusCode::Error;
                self.failed = failed.then(|| status.message.clone().unwrap_or_default());
            }
            SpanChange::Unknown => {}
        }
    }

    fn tag(&mut self, attributes: &[Attribute]) {
        for attribute in attributes {
            match attribute.value.as_str() {
                Some(name) if attribute.key == SPAN_NAME => self.name = name.to_owned().into(),
                _ if self.attributes.len() < MAX_ATTRIBUTES => {
                    upsert(&mut self.attributes, std::slice::from_ref(attribute));
                }
                _ => {}
            }
        }
    }
}
