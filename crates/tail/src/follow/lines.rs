//! What happens to spans as lines for people, in the order in which it happens.
//!
//! ```text
//! 07:18:14.585  00d407  ○ jsRpcSession  DB.query
//! 07:18:14.588  00d407  │ jsRpcSession → d1.query
//! 07:18:14.588  00d407  │ db.query.text = "select …" (812 bytes), db.response.returned_rows = 3, … 9 more
//! 07:18:14.588  00d407  ● d1.query  3 ms  ok
//! ```
//!
//! Times are UTC; the second column is the end of the span's id; a span below another that is shown stands
//! further in, as soon as that other is known: events of several processes do not come in order. Of attributes
//! a line has first what went wrong, then the statement, and not what is the same in every call. Signs and words
//! are those of the tree.

use std::rc::Rc;
use std::time::SystemTime;

use anstyle::Style;
use binding_span::{Attribute, SpanId, TraceId};
use time::OffsetDateTime;

use super::SPANS;
use super::line::Line;
use super::place::{LEVELS, Place};
use super::words::{called, duration};
use crate::aged::Aged;
use crate::paint::{BAD, DIM, GOOD, NAME, NEW_NAME, Paint, WARN};
use crate::text::{self, grouped};
use crate::{Event, EventKind, Onset, ReturnInfo, SESSION_NAME, SPAN_NAME, SpanInfo};

/// Characters of names, keys, values and messages that are shown, and with every detail.
const NAMES: (usize, usize) = (64, 256);
pub(super) const VALUES: (usize, usize) = (100, 4096);
pub(super) const MESSAGES: (usize, usize) = (300, 4096);
pub(super) const PLAIN: Style = Style::new();

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
    pub(super) style: LineStyle,
    spans: Aged<Key, Span>,
    /// Those that are the parents of others and did not open here yet.
    awaited: Aged<Key, Rc<Place>>,
    /// A span whose opening is not told yet: its first attributes, if they follow at once, say what is
    /// called.
    pub(super) opening: Option<Key>,
    /// A span that returned, of an invocation whose outcome, if it follows at once, says how.
    returned: Option<(Key, SystemTime)>,
    /// A lone `error.type`, which the exception, if it follows at once, says again.
    pub(super) failing: Option<(Key, Attribute, SystemTime)>,
    /// The latest span that was told to have failed, whose status says it again.
    pub(super) failed: Option<Key>,
    day: Option<i32>,
    pub(super) out: Vec<Told>,
}

pub(super) type Key = (TraceId, SpanId);

#[derive(Debug)]
struct Span {
    name: String,
    /// What it is for, beyond its name.
    about: Option<String>,
    /// The HTTP status that it returned.
    status: Option<u16>,
    opened: SystemTime,
    place: Rc<Place>,
}

/// A line; where it stands is known when it is taken.
#[derive(Debug)]
pub(super) struct Told {
    text: String,
    /// Where in the text it is indented, by which span, and how far at most.
    indent: Option<(usize, Rc<Place>, usize)>,
}

/// What one line is about.
pub(super) struct At {
    key: Key,
    time: SystemTime,
    place: Rc<Place>,
}

/// A line that is being made, and its indentation.
pub(super) struct Begun {
    pub(super) line: Line,
    indent: (usize, Rc<Place>, usize),
}

impl Begun {
    pub(super) fn push(&mut self, style: Style, piece: &str) -> &mut Self {
        self.line.push(style, piece);
        self
    }

    pub(super) fn finish(self) -> Told {
        Told {
            text: self.line.finish(),
            indent: Some(self.indent),
        }
    }
}

impl SpanLines {
    /// Nothing happened yet.
    pub fn new(style: LineStyle) -> Self {
        Self {
            style,
            spans: Aged::new(SPANS),
            awaited: Aged::new(SPANS),
            opening: None,
            returned: None,
            failing: None,
            failed: None,
            day: None,
            out: Vec::new(),
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
        let mut all = String::new();
        for Told { text, indent } in self.out.drain(..) {
            match indent {
                Some((at, place, most)) => {
                    all += &text[..at];
                    all += &"  ".repeat(place.depth().min(most));
                    all += &text[at..];
                }
                None => all += &text,
            }
        }
        all
    }

    /// A line about the feed itself, in its place.
    pub fn note(&mut self, text: &str) {
        self.settle(None);
        let mut line = Line::new(Paint(self.style.colour), None);
        line.push(WARN, &format!("── {}", text::escape(text)));
        self.plain(line);
    }

    /// Something happened.
    pub fn event(&mut self, event: &Event) {
        self.settle(Some(event));
        let trace = event.span_context.trace_id;
        let about = event.span_context.span_id.map(|span| (trace, span));
        let time = event.timestamp;
        match &event.event {
            EventKind::Onset(onset) => self.onset((trace, onset.span_id), about, onset, time),
            EventKind::SpanOpen {
                name,
                span_id,
                info,
            } => {
                let key = (trace, *span_id);
                let says = info.as_ref().and_then(SpanInfo::summary);
                self.open(key, about, name, says, time);
                let attributes = info.as_ref().map_or(&[][..], SpanInfo::attributes);
                if !attributes.is_empty() {
                    self.attributes(key, attributes, time);
                }
            }
            EventKind::SpanUpdate { info } => {
                if let Some(key) = about {
                    self.update(key, info, time);
                }
            }
            EventKind::Attributes { info } => {
                if let Some(key) = about {
                    self.attributes(key, info, time);
                }
            }
            EventKind::Exception {
                name,
                message,
                stack,
            } => {
                if let Some(key) = about {
                    self.exception(key, Some(name), message, time);
                    self.stack(key, stack.as_deref(), time);
                }
            }
            EventKind::Log(log) => {
                if let Some(key) = about {
                    let style = match &*log.level {
                        "error" => BAD,
                        "warn" => WARN,
                        _ => PLAIN,
                    };
                    let text = log.text(4 * self.pick(MESSAGES));
                    self.said(key, (&log.level, &text), style, time);
                }
            }
            EventKind::DiagnosticChannel(message) => {
                if let Some(key) = about {
                    let text = message
                        .json()
                        .map_or("undefined".into(), |json| json.to_string());
                    self.said(key, (&message.channel, &text), PLAIN, time);
                }
            }
            EventKind::SpanClose { outcome } => {
                if let Some(key) = about {
                    self.close(key, outcome, time);
                }
            }
            EventKind::Return { info } => {
                self.returned = about.map(|key| (key, time));
                let span = about.and_then(|key| self.spans.get_mut(&key));
                if let (Some(span), Some(ReturnInfo::Fetch { status_code })) = (span, info) {
                    span.status = Some(*status_code);
                }
            }
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
        self.out.push(line.finish());
    }

    fn onset(&mut self, key: Key, caller: Option<Key>, onset: &Onset, time: SystemTime) {
        let renamed = onset.attributes.iter().rev().find(|a| a.key == SPAN_NAME);
        let renamed = renamed.and_then(|a| a.value.as_str());
        let first = match onset.info.is_call() {
            true => SESSION_NAME,
            false => onset.info.kind(),
        };
        let says = onset.info.summary();
        self.open(key, caller, renamed.unwrap_or(first), says, time);
    }

    fn open(
        &mut self,
        key: Key,
        parent: Option<Key>,
        name: &str,
        about: Option<String>,
        time: SystemTime,
    ) {
        let parent = parent.filter(|parent| *parent != key);
        let above = parent.map(|parent| match self.spans.get(&parent) {
            Some(above) => Rc::clone(&above.place),
            None => self.awaited(parent),
        });
        let place = self.awaited.remove(&key).unwrap_or_default();
        place.shown.set(true);
        place
            .above
            .replace(above.filter(|above| !above.is_below(&place)));
        let span = Span {
            name: name.to_owned(),
            about,
            status: None,
            opened: time,
            place,
        };
        self.spans.insert(key, span);
        self.opening = Some(key);
    }

    /// The place of a span that did not open here yet.
    fn awaited(&mut self, key: Key) -> Rc<Place> {
        if let Some(known) = self.awaited.get(&key) {
            return Rc::clone(known);
        }
        let place = Rc::<Place>::default();
        self.awaited.insert(key, Rc::clone(&place));
        place
    }

    /// A line that stands at the margin.
    fn plain(&mut self, line: Line) {
        let text = line.finish();
        self.out.push(Told { text, indent: None });
    }

    /// `○ jsRpcSession  DB.query`
    pub(super) fn opened(&mut self, key: Key, attributes: Option<&[Attribute]>) {
        let Some(span) = self.spans.get(&key) else {
            return;
        };
        let (span_name, about, time) = (span.name.clone(), span.about.clone(), span.opened);
        let at = self.at(key, time);
        let mut line = self.line(&at, "○", WARN);
        line.push(NAME, &self.name(&span_name));
        let called = attributes.and_then(called).or(about);
        if let Some(called) = called.filter(|called| *called != span_name) {
            line.push(PLAIN, "  ").push(PLAIN, &self.name(&called));
        }
        if self.style.verbose {
            line.push(DIM, &format!("  trace {} span {}", key.0, key.1));
        }
        self.out.push(line.finish());
    }

    /// `│ jsRpcSession → d1.query`
    pub(super) fn renamed(&mut self, key: Key, name: &str, time: SystemTime) {
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
        self.out.push(line.finish());
    }

    /// `● d1.query  3 ms  ok`
    fn close(&mut self, key: Key, outcome: &str, time: SystemTime) {
        let at = self.at(key, time);
        let span = self.spans.remove(&key);
        let status = span.as_ref().and_then(|span| span.status);
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
        if let Some(status) = status {
            line.push(PLAIN, &format!("  {status}"));
        }
        self.out.push(line.finish());
    }

    pub(super) fn at(&self, key: Key, time: SystemTime) -> At {
        let place = self.spans.get(&key).map(|span| Rc::clone(&span.place));
        At {
            key,
            time,
            place: place.unwrap_or_default(),
        }
    }

    /// A line with its time, its span's id, and its sign.
    pub(super) fn line(&mut self, at: &At, sign: &str, style: Style) -> Begun {
        let (colour, width) = (Paint(self.style.colour), self.style.width);
        let date = OffsetDateTime::from(at.time);
        if self.day.replace(date.to_julian_day()) != Some(date.to_julian_day()) {
            let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
            let mut line = Line::new(colour, width);
            line.push(DIM, &format!("── {year:04}-{month:02}-{day:02} UTC"));
            self.plain(line);
        }
        let (hour, minute, second, milli) = date.to_hms_milli();
        let id = at.key.1.to_string();
        let id = &id[id.len().saturating_sub(6)..];
        let mut line = Line::new(colour, width);
        line.push(
            DIM,
            &format!("{hour:02}:{minute:02}:{second:02}.{milli:03}  {id}  "),
        );
        // A line that may be cut keeps columns for as far as it may yet be indented.
        let deepest = at.place.deepest();
        let most = if width.is_some() { deepest } else { LEVELS };
        let indent = (line.mark(2 * deepest), Rc::clone(&at.place), most);
        line.push(style, sign).push(PLAIN, " ");
        Begun { line, indent }
    }

    pub(super) fn name(&self, text: &str) -> String {
        text::name(text, self.pick(NAMES))
    }

    pub(super) fn pick<T>(&self, (short, long): (T, T)) -> T {
        if self.style.verbose { long } else { short }
    }
}
