//! What happens to spans as lines for people, in the order in which it happens.
//!
//! ```text
//! 07:18:14.585  00d407  ○ jsRpcSession  DB.query
//! 07:18:14.588  00d407  │ jsRpcSession → d1.query
//! 07:18:14.588  00d407  │ cloudflare.binding.type = "D1", db.response.returned_rows = 3, … 9 more
//! 07:18:14.588  00d407  ● d1.query  3 ms  ok
//! ```
//!
//! Times are UTC; the second column is the end of the span's id; a span below another that is shown stands
//! further in. Signs and words are those of the tree.

use std::time::{Duration, SystemTime};

use anstyle::Style;
use binding_span::wire::DROPPED_KEY;
use binding_span::{Attribute, AttributeValue, SpanId, TraceId};
use time::OffsetDateTime;

use super::SPANS;
use super::aged::Aged;
use super::line::Line;
use super::selection::BINDING;
use crate::paint::{self, BAD, DIM, GOOD, KEY, NAME, NEW_NAME, Paint, WARN};
use crate::text::{self, grouped, human_duration};
use crate::{ERROR_TYPE, Event, EventKind, Onset, SESSION_NAME, SPAN_NAME};

/// Characters of names, keys, values and messages that are shown, and with every detail.
const NAMES: (usize, usize) = (64, 256);
const VALUES: (usize, usize) = (100, 4096);
const MESSAGES: (usize, usize) = (300, 4096);
/// Attributes that one line shows at most.
const FOLD: usize = 16;
/// Levels that are indented.
const LEVELS: usize = 16;
/// The attribute with a call's method.
const METHOD: &str = "jsrpc.method";
const PLAIN: Style = Style::new();

/// How the lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineStyle {
    /// With ANSI colours. Nothing is told by colour alone.
    pub colour: bool,
    /// Every attribute on a line of its own, longer values, whole ids, what the protocol says of a call.
    pub verbose: bool,
    /// Columns that a line may have; without it lines are as long as they are.
    pub width: Option<usize>,
}

/// Makes lines of events.
///
/// ```
/// use tail::{Event, LineStyle, SpanLines};
///
/// let line = r#"{"spanContext":{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"},"invocationId":"ffef0102030405060708090a0b0c0d0e","timestamp":"2026-11-22T07:18:14.585Z","sequence":3,"event":{"type":"attributes","info":[{"name":"rows","value":3}]}}"#;
/// let mut lines = SpanLines::new(LineStyle::default());
/// lines.event(&Event::from_line(line).unwrap());
/// assert_eq!(lines.take(), "\
/// ── 2026-11-22 UTC
/// 07:18:14.585  203331  │ rows = 3
/// ");
/// ```
#[derive(Debug)]
pub struct SpanLines {
    style: LineStyle,
    spans: Aged<Key, Span>,
    /// A span whose opening is not told yet: its first attributes, if they follow at once, say what is
    /// called.
    opening: Option<Key>,
    /// A span that returned, of an invocation whose outcome, if it follows at once, says how.
    returned: Option<(Key, SystemTime)>,
    /// A lone `error.type`, which the exception, if it follows at once, says again.
    failing: Option<(Key, Attribute, SystemTime)>,
    day: Option<i32>,
    out: String,
}

type Key = (TraceId, SpanId);

#[derive(Debug)]
struct Span {
    name: String,
    opened: SystemTime,
    depth: usize,
}

/// What one line is about.
struct At {
    key: Key,
    time: SystemTime,
    depth: usize,
}

impl SpanLines {
    /// Nothing happened yet.
    pub fn new(style: LineStyle) -> Self {
        Self {
            style,
            spans: Aged::new(SPANS),
            opening: None,
            returned: None,
            failing: None,
            day: None,
            out: String::new(),
        }
    }

    /// The terminal has another width.
    pub fn set_width(&mut self, width: Option<usize>) {
        self.style.width = width;
    }

    /// Takes the lines made since the last time. What came before is told now, even where the next event
    /// would have said more.
    pub fn take(&mut self) -> String {
        self.settle(None);
        std::mem::take(&mut self.out)
    }

    /// A line about the feed itself, in its place.
    pub fn note(&mut self, text: &str) {
        self.settle(None);
        let mut line = Line::new(Paint(self.style.colour), None);
        line.push(WARN, &format!("── {}", text::escape(text)));
        self.out += &line.finish();
    }

    /// Something happened.
    pub fn event(&mut self, event: &Event) {
        self.settle(Some(event));
        let trace = event.span_context.trace_id;
        let about = event.span_context.span_id.map(|span| (trace, span));
        let time = event.timestamp;
        match &event.event {
            EventKind::Onset(onset) => self.onset((trace, onset.span_id), about, onset, time),
            EventKind::SpanOpen { name, span_id } => {
                self.open((trace, *span_id), about, name, time);
            }
            EventKind::Attributes { info } => {
                if let Some(key) = about {
                    self.attributes(key, info, time);
                }
            }
            EventKind::Exception { name, message } => {
                if let Some(key) = about {
                    self.exception(key, name, message, time);
                }
            }
            EventKind::SpanClose { outcome } => {
                if let Some(key) = about {
                    self.close(key, outcome, time);
                }
            }
            EventKind::Return => self.returned = about.map(|key| (key, time)),
            EventKind::Outcome { outcome, .. } => {
                let known = about.filter(|key| self.spans.get(key).is_some());
                if let Some(key) = known {
                    self.close(key, outcome, time);
                }
            }
            EventKind::StreamDiagnostic { diagnostic } => {
                let count = grouped(diagnostic.count);
                self.note(&format!(
                    "{count} events of this invocation were lost on the way here"
                ));
            }
            EventKind::Unknown => {}
        }
    }

    /// Tells what waited for the next event.
    fn settle(&mut self, next: Option<&Event>) {
        let kind = |key: Key| {
            let next = next?;
            let trace = next.span_context.trace_id;
            let span = next.span_context.span_id.map(|span| (trace, span));
            (span == Some(key)).then_some(&next.event)
        };
        if let Some(key) = self.opening
            && !matches!(kind(key), Some(EventKind::Attributes { .. }))
        {
            self.opening = None;
            self.opened(key, None);
        }
        if let Some((key, attribute, time)) = self.failing.take() {
            let class = attribute.value.as_str();
            match kind(key) {
                Some(EventKind::Exception { name, .. }) if class == Some(name) => {}
                _ => self.tags(key, &[&attribute], time),
            }
        }
        if let Some((key, time)) = self.returned.take()
            && !matches!(kind(key), Some(EventKind::Outcome { .. }))
        {
            self.still_open(key, time);
        }
    }

    /// `│ returned after 3 ms; something below it is still open`
    fn still_open(&mut self, key: Key, time: SystemTime) {
        let Some(span) = self.spans.get(&key) else {
            return;
        };
        let lasted = duration(span.opened, time);
        let at = self.at(key, time);
        let mut line = self.line(&at, "│", DIM);
        line.push(
            PLAIN,
            &format!("returned after {lasted}; something below it is still open"),
        );
        self.out += &line.finish();
    }

    fn onset(&mut self, key: Key, caller: Option<Key>, onset: &Onset, time: SystemTime) {
        let renamed = onset.attributes.iter().rev().find(|a| a.key == SPAN_NAME);
        let renamed = renamed.and_then(|a| a.value.as_str());
        let kind = &*onset.info.kind;
        let first = if kind == "jsrpc" { SESSION_NAME } else { kind };
        self.open(key, caller, renamed.unwrap_or(first), time);
    }

    fn open(&mut self, key: Key, parent: Option<Key>, name: &str, time: SystemTime) {
        let parent = parent.filter(|parent| *parent != key);
        let above = parent.and_then(|parent| self.spans.get(&parent));
        let span = Span {
            name: name.to_owned(),
            opened: time,
            depth: above.map_or(0, |above| above.depth + 1),
        };
        self.spans.insert(key, span);
        self.opening = Some(key);
    }

    /// `○ jsRpcSession  DB.query`
    fn opened(&mut self, key: Key, attributes: Option<&[Attribute]>) {
        let Some(span) = self.spans.get(&key) else {
            return;
        };
        let (span_name, time) = (span.name.clone(), span.opened);
        let at = self.at(key, time);
        let mut line = self.line(&at, "○", WARN);
        line.push(NAME, &self.name(&span_name));
        let called = attributes.and_then(called);
        if let Some(called) = called.filter(|called| *called != span_name) {
            line.push(PLAIN, "  ").push(PLAIN, &self.name(&called));
        }
        if self.style.verbose {
            line.push(DIM, &format!("  trace {} span {}", key.0, key.1));
        }
        self.out += &line.finish();
    }

    fn attributes(&mut self, key: Key, attributes: &[Attribute], time: SystemTime) {
        if self.opening.take().is_some() {
            self.opened(key, Some(attributes));
        }
        let renames = attributes.iter().filter(|a| a.key == SPAN_NAME);
        for name in renames.filter_map(|a| a.value.as_str()) {
            self.renamed(key, name, time);
        }
        let verbose = self.style.verbose;
        let mut told: Vec<&Attribute> = attributes
            .iter()
            .filter(|a| a.key != SPAN_NAME && a.key != DROPPED_KEY)
            .filter(|a| verbose || !is_protocol(&a.key))
            .collect();
        // What went wrong is not what gives way where a line ends.
        told.sort_by_key(|a| a.key != ERROR_TYPE);
        match &told[..] {
            [] => {}
            all if verbose => all.iter().for_each(|a| self.tags(key, &[a], time)),
            [one] if one.key == ERROR_TYPE => {
                self.failing = Some((key, Attribute::clone(one), time));
            }
            all => self.tags(key, all, time),
        }
        if let Some(dropped) = attributes.iter().find(|a| a.key == DROPPED_KEY) {
            let at = self.at(key, time);
            let mut line = self.line(&at, "│", DIM);
            line.push(WARN, &format!("⚠ enrichment dropped: {}", dropped.value));
            self.out += &line.finish();
        }
    }

    /// `│ jsRpcSession → d1.query`
    fn renamed(&mut self, key: Key, name: &str, time: SystemTime) {
        let old = match self.spans.get_mut(&key) {
            Some(span) if span.name == name => return,
            Some(span) => Some(std::mem::replace(&mut span.name, name.to_owned())),
            None => None,
        };
        let old = old.map_or_else(|| "?".to_owned(), |old| self.name(&old));
        let at = self.at(key, time);
        let mut line = self.line(&at, "│", DIM);
        line.push(DIM, &format!("{old} → "))
            .push(NEW_NAME, &self.name(name));
        self.out += &line.finish();
    }

    /// `│ db.namespace = "shop", db.response.returned_rows = 3, … 9 more`
    fn tags(&mut self, key: Key, attributes: &[&Attribute], time: SystemTime) {
        let at = self.at(key, time);
        let mut line = self.line(&at, "│", DIM);
        for (i, attribute) in attributes.iter().enumerate() {
            let value = match &attribute.value {
                AttributeValue::String(text) => text::quote(text, self.pick(VALUES)),
                other => other.to_string(),
            };
            let (name, left) = (self.name(&attribute.key), attributes.len() - i);
            let rest = format!(", … {left} more");
            let after = if left > 1 { rest.chars().count() } else { 1 };
            let comma = if i == 0 { "" } else { ", " };
            if i > 0 && (i >= FOLD || !line.fits(&format!("{comma}{name} = {value}"), after)) {
                line.push(DIM, &rest);
                break;
            }
            line.push(PLAIN, comma).push(KEY, &name).push(DIM, " = ");
            line.push(paint::value(&attribute.value), &value);
        }
        self.out += &line.finish();
    }

    /// `│ ✗ TypeError: there is no such thing`
    fn exception(&mut self, key: Key, kind: &str, message: &str, time: SystemTime) {
        let at = self.at(key, time);
        let mut line = self.line(&at, "│", DIM);
        let most = self.pick(MESSAGES);
        let message = text::escape(message);
        let cut = message.char_indices().nth(most).map(|(at, _)| at);
        let shown = cut.map_or(message.to_string(), |at| format!("{}…", &message[..at]));
        line.push(BAD, &format!("✗ {}: {shown}", self.name(kind)));
        self.out += &line.finish();
    }

    /// `● d1.query  3 ms  ok`
    fn close(&mut self, key: Key, outcome: &str, time: SystemTime) {
        let at = self.at(key, time);
        let span = self.spans.remove(&key);
        let good = outcome == "ok";
        let mut line = self.line(&at, "●", if good { GOOD } else { BAD });
        match span {
            Some(span) => {
                line.push(NAME, &self.name(&span.name));
                line.push(PLAIN, &format!("  {}", duration(span.opened, time)));
            }
            None => {
                line.push(DIM, "a span that began before");
            }
        }
        let words = match outcome {
            "exception" => "failed".to_owned(),
            "canceled" => "cancelled".to_owned(),
            "exceededWallTime" => "took too long".to_owned(),
            "unknown" => "its end was not seen".to_owned(),
            other => self.name(other),
        };
        line.push(if good { GOOD } else { BAD }, &format!("  {words}"));
        self.out += &line.finish();
    }

    fn at(&self, key: Key, time: SystemTime) -> At {
        let depth = self.spans.get(&key).map_or(0, |span| span.depth);
        At { key, time, depth }
    }

    /// A line with its time, its span's id, and its sign.
    fn line(&mut self, at: &At, sign: &str, style: Style) -> Line {
        let (colour, width) = (Paint(self.style.colour), self.style.width);
        let date = OffsetDateTime::from(at.time);
        if self.day.replace(date.to_julian_day()) != Some(date.to_julian_day()) {
            let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
            let mut line = Line::new(colour, width);
            line.push(DIM, &format!("── {year:04}-{month:02}-{day:02} UTC"));
            self.out += &line.finish();
        }
        let (hour, minute, second, milli) = date.to_hms_milli();
        let id = at.key.1.to_string();
        let id = &id[id.len().saturating_sub(6)..];
        let mut line = Line::new(colour, width);
        line.push(
            DIM,
            &format!("{hour:02}:{minute:02}:{second:02}.{milli:03}  {id}  "),
        );
        line.push(PLAIN, &"  ".repeat(at.depth.min(LEVELS)));
        line.push(style, sign).push(PLAIN, " ");
        line
    }

    fn name(&self, text: &str) -> String {
        text::name(text, self.pick(NAMES))
    }

    fn pick<T>(&self, (short, long): (T, T)) -> T {
        if self.style.verbose { long } else { short }
    }
}

/// What is called: `DB.query`.
fn called(attributes: &[Attribute]) -> Option<String> {
    let text = |key: &str| {
        let found = attributes.iter().find(|a| a.key == key);
        found.and_then(|a| a.value.as_str())
    };
    match (text(BINDING)?, text(METHOD)) {
        (binding, Some(method)) => Some(format!("{binding}.{method}")),
        (binding, None) => Some(binding.to_owned()),
    }
}

/// Whether an attribute says what the opening line says: the protocol's own words about a call.
fn is_protocol(key: &str) -> bool {
    ["rpc.", "jsrpc."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// How long something took, as far as whole milliseconds tell.
fn duration(from: SystemTime, to: SystemTime) -> String {
    let lasted = to.duration_since(from).unwrap_or(Duration::ZERO);
    match lasted.as_millis() {
        0 => "<1 ms".to_owned(),
        millis @ 1..1000 => format!("{millis} ms"),
        _ => human_duration(lasted),
    }
}
