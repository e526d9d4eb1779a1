//! A span while it is kept here: what is known of it, each attribute once.

use std::borrow::Cow;
use std::time::SystemTime;

use binding_span::{
    Attribute, AttributeList, AttributeValue, SpanClose, SpanContext, SpanId, SpanKind, SpanOpen,
    error_type,
};

use super::SpanLimits;

/// The attribute that keeps the name that a span had before it was renamed.
pub(super) const ORIGINAL_NAME: &str = "binding_span.original_name";
/// The attribute of a span that had not ended when its process did.
pub(super) const UNFINISHED: &str = "binding_span.unfinished";
pub(super) const ERROR_TYPE: &str = "error.type";

/// Bytes of a status message.
const STATUS_BYTES: usize = 1024;
/// What a span takes besides its texts, about.
const BASE_BYTES: usize = 512;
/// What an attribute takes besides its texts.
const ATTRIBUTE_BYTES: usize = size_of::<Attribute>();

/// A span that is sampled.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) context: SpanContext,
    pub(super) parent: Option<SpanId>,
    /// Whether the parent is of another process.
    pub(super) remote: bool,
    pub(super) kind: SpanKind,
    pub(super) name: String,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) attributes: Vec<Attribute>,
    /// Attributes, and new names, that a limit took.
    pub(super) cut: u32,
    /// The message of what went wrong.
    pub(super) status: Option<String>,
    renamed: bool,
    /// What it takes of the budget.
    pub(super) bytes: usize,
}

/// A span on its way from one hand to the next: a pointer moves, not the span.
pub(super) type Held = Box<Record>;

impl Record {
    pub(super) fn new(open: &SpanOpen<'_>, limits: &SpanLimits) -> Self {
        let mut span = Self {
            context: open.span.context,
            parent: open.parent,
            remote: open.root && open.parent.is_some(),
            kind: open.kind,
            name: open.name.to_owned(),
            start: open.time,
            end: open.time,
            // Room for a usual enrichment.
            attributes: Vec::with_capacity(open.attributes.len() + 4),
            cut: 0,
            status: None,
            renamed: false,
            bytes: BASE_BYTES + open.name.len(),
        };
        span.upsert(open.attributes, limits, &mut |_| true);
        span
    }

    /// Gives it a new name; the first one it had is kept as an attribute.
    pub(super) fn rename(
        &mut self,
        name: &str,
        limits: &SpanLimits,
        room: &mut dyn FnMut(usize) -> bool,
    ) {
        if !room(name.len()) {
            // With it goes the attribute that would have kept the old one.
            self.cut = self.cut.saturating_add(1);
            return;
        }
        self.bytes += name.len();
        let before = std::mem::replace(&mut self.name, name.to_owned());
        if !std::mem::replace(&mut self.renamed, true) {
            self.upsert(&[Attribute::new(ORIGINAL_NAME, before)], limits, room);
        }
    }

    /// Adds attributes; a key that is there already has its value replaced. `room` is asked for the bytes
    /// of each.
    pub(super) fn upsert(
        &mut self,
        attributes: &[Attribute],
        limits: &SpanLimits,
        room: &mut dyn FnMut(usize) -> bool,
    ) {
        // The keys of one call differ, so only those from before can be the same.
        let known = self.attributes.len();
        for attribute in attributes {
            let value = limits.shorten(&attribute.value);
            let found = self.attributes[..known]
                .iter()
                .position(|a| a.key == attribute.key);
            let bytes = match found {
                Some(_) => value.footprint(),
                None => ATTRIBUTE_BYTES + attribute.key.len() + value.footprint(),
            };
            let full = found.is_none() && limits.count.is_some_and(|n| self.attributes.len() >= n);
            if full || !room(bytes) {
                self.cut = self.cut.saturating_add(1);
                continue;
            }
            // What a replaced value took is given back with the span.
            self.bytes += bytes;
            match found {
                Some(i) => self.attributes[i].value = value,
                None => self.attributes.push(Attribute {
                    key: attribute.key.clone(),
                    value,
                }),
            }
        }
    }

    /// Ends it as `close` says.
    pub(super) fn close(
        &mut self,
        close: &SpanClose<'_>,
        limits: &SpanLimits,
        room: &mut dyn FnMut(usize) -> bool,
    ) {
        self.end = close.time;
        let kind = match (close.error, close.outcome) {
            (Some(error), _) => error.kind,
            (None, binding_span::Outcome::Ok) => "",
            (None, outcome) => outcome.label(),
        };
        if !kind.is_empty() {
            let kind = Attribute::new(ERROR_TYPE, kind.to_owned());
            self.upsert(&[kind], limits, room);
        }
        let failed = !kind.is_empty() || self.attributes.iter().any(states_error);
        if failed {
            let message = close.error.map_or("", |error| error.message);
            let message = &message[..message.floor_char_boundary(STATUS_BYTES)];
            // At most a kilobyte, and a span that failed without saying why helps nobody.
            self.status = Some(message.to_owned());
        }
    }

    /// Ends it because its process does.
    pub(super) fn end_unfinished(&mut self, now: SystemTime, limits: &SpanLimits) {
        self.end = now;
        // Not worth asking the budget for, so not given back either.
        let bytes = self.bytes;
        self.upsert(&[Attribute::new(UNFINISHED, true)], limits, &mut |_| true);
        self.bytes = bytes;
    }
}

impl SpanLimits {
    /// A value, and of a text that is too long its beginning, also in a list.
    fn shorten(&self, value: &AttributeValue) -> AttributeValue {
        let Some(limit) = self.value_chars else {
            return value.clone();
        };
        let beginning = |text: &Cow<'static, str>| -> Cow<'static, str> {
            match text.char_indices().nth(limit) {
                Some((end, _)) => text[..end].to_owned().into(),
                None => text.clone(),
            }
        };
        match value {
            AttributeValue::String(text) => AttributeValue::String(beginning(text)),
            AttributeValue::List(list) => match &**list {
                AttributeList::Strings(list) => {
                    AttributeList::Strings(list.iter().map(beginning).collect()).into()
                }
                _ => value.clone(),
            },
            _ => value.clone(),
        }
    }
}

/// Whether it says that its span failed, as [`binding_span::StatedError`] has it.
fn states_error(attribute: &Attribute) -> bool {
    attribute.key == ERROR_TYPE && error_type(&attribute.value).is_some()
}
