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

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anstyle::Style;
use binding_span::wire::DROPPED_KEY;
use binding_span::{Attribute, AttributeValue, SpanId, TraceId};
use time::OffsetDateTime;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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
/// Characters of a statement that are shown.
const STATEMENT: usize = 60;
/// Columns that the beginning of a value must have, to be worth showing.
const LEAST: usize = 6;
/// Attributes that one line shows at most.
const FOLD: usize = 16;
/// Levels that are indented.
const LEVELS: usize = 16;
/// Spans above a span that are looked at.
const CHAIN: usize = 1024;
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
    /// Those that are the parents of others and did not open here yet.
    awaited: Aged<Key, Rc<Place>>,
    /// A span whose opening is not told yet: its first attributes, if they follow at once, say what is
    /// called.
    opening: Option<Key>,
    /// A span that returned, of an invocation whose outcome, if it follows at once, says how.
    returned: Option<(Key, SystemTime)>,
    /// A lone `error.type`, which the exception, if it follows at once, says again.
    failing: Option<(Key, Attribute, SystemTime)>,
    day: Option<i32>,
    out: Vec<Told>,
}

type Key = (TraceId, SpanId);

#[derive(Debug)]
struct Span {
    name: String,
    opened: SystemTime,
    place: Rc<Place>,
}

/// Where a span stands among the others. What is below it holds it.
#[derive(Debug, Default)]
struct Place {
    /// Whether it opened here.
    shown: Cell<bool>,
    above: RefCell<Option<Rc<Place>>>,
}

impl Place {
    /// How many that are shown are above it.
    fn depth(&self) -> usize {
        let (mut depth, mut above) = (0, self.above.borrow().clone());
        while let Some(place) = above.filter(|place| place.shown.get() && depth < LEVELS) {
            depth += 1;
            above = place.above.borrow().clone();
        }
        depth
    }

    /// Whether it is below another or the same, or so deep that it does not matter: peers may claim circles.
    fn is_below(self: &Rc<Self>, other: &Rc<Self>) -> bool {
        let mut above = Some(Rc::clone(self));
        for _ in 0..CHAIN {
            let Some(place) = above else { return false };
            if Rc::ptr_eq(&place, other) {
                return true;
            }
            above = place.above.borrow().clone();
        }
        true
    }

    /// How many there would be, if the one above them that did not open yet did.
    fn deepest(&self) -> usize {
        let (mut depth, mut above) = (0, self.above.borrow().clone());
        while let Some(place) = above.filter(|_| depth < LEVELS) {
            depth += 1;
            above = place.above.borrow().clone();
        }
        depth
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not by recursion: how long a chain is, is up to other processes.
        let mut above = self.above.take();
        while let Some(place) = above {
            above = Rc::into_inner(place).and_then(|place| place.above.take());
        }
    }
}

/// A line; where it stands is known when it is taken.
#[derive(Debug)]
struct Told {
    text: String,
    /// Where in the text it is indented, by which span, and how far at most.
    indent: Option<(usize, Rc<Place>, usize)>,
}

/// What one line is about.
struct At {
    key: Key,
    time: SystemTime,
    place: Rc<Place>,
}

/// A line that is being made, and its indentation.
struct Begun {
    line: Line,
    indent: (usize, Rc<Place>, usize),
}

impl Begun {
    fn push(&mut self, style: Style, piece: &str) -> &mut Self {
        self.line.push(style, piece);
        self
    }

    fn finish(self) -> Told {
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
        self.out.push(line.finish());
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
        self.out.push(line.finish());
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
        // What went wrong is not what gives way where a line ends, nor is what was done.
        told.sort_by_key(|a| match &*a.key {
            ERROR_TYPE => 0,
            _ if verbose => 1,
            key if is_statement(key) => 1,
            key if !is_constant(key) => 2,
            _ => 3,
        });
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
            self.out.push(line.finish());
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
        self.out.push(line.finish());
    }

    /// `│ db.query.text = "select 1", db.response.returned_rows = 3, … 9 more`
    fn tags(&mut self, key: Key, attributes: &[&Attribute], time: SystemTime) {
        let at = self.at(key, time);
        let mut begun = self.line(&at, "│", DIM);
        let line = &mut begun.line;
        let shown = match self.style.verbose {
            true => attributes.len(),
            // They come last. Where there is nothing else they are better than nothing.
            false => attributes.iter().filter(|a| !is_constant(&a.key)).count(),
        };
        let shown = if shown == 0 { attributes.len() } else { shown };
        for (i, attribute) in attributes.iter().enumerate() {
            let left = attributes.len() - i;
            let rest = match i {
                0 => format!("… {left} attributes"),
                _ => format!(", … {left} more"),
            };
            if i >= shown.min(FOLD) {
                line.push(DIM, &rest);
                break;
            }
            // What follows if it is shown, and the line's own column, to say that it was cut.
            let after = match left - 1 {
                0 => 1,
                more => format!(", … {more} more").width() + 1,
            };
            let (name, value) = (self.name(&attribute.key), self.value(attribute));
            let comma = if i == 0 { "" } else { ", " };
            let fits = line.fits(&format!("{comma}{name} = {value}"), after);
            // Of the first one the beginning is better than nothing.
            let room = line.room(&format!("{comma}{name} = "), after);
            let begins = i == 0 && room.is_some_and(|room| room >= LEAST);
            if !fits && !begins {
                line.push(DIM, &rest);
                break;
            }
            let value = match room {
                Some(room) if !fits => beginning(&value, room),
                _ => value,
            };
            line.push(PLAIN, comma).push(KEY, &name).push(DIM, " = ");
            line.push(paint::value(&attribute.value), &value);
        }
        self.out.push(begun.finish());
    }

    /// A value, shortened.
    fn value(&self, attribute: &Attribute) -> String {
        match &attribute.value {
            AttributeValue::String(text) if is_statement(&attribute.key) && !self.style.verbose => {
                // As it was written it has lines and indentation.
                let words: Vec<&str> = text.split_whitespace().collect();
                text::quote(&words.join(" "), STATEMENT)
            }
            AttributeValue::String(text) => text::quote(text, self.pick(VALUES)),
            other => other.to_string(),
        }
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
        self.out.push(line.finish());
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
        self.out.push(line.finish());
    }

    fn at(&self, key: Key, time: SystemTime) -> At {
        let place = self.spans.get(&key).map(|span| Rc::clone(&span.place));
        At {
            key,
            time,
            place: place.unwrap_or_default(),
        }
    }

    /// A line with its time, its span's id, and its sign.
    fn line(&mut self, at: &At, sign: &str, style: Style) -> Begun {
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

/// Whether an attribute is what a database was asked to do.
fn is_statement(key: &str) -> bool {
    matches!(key, "db.query.text" | "db.statement")
}

/// Whether an attribute is the same in every call of a binding.
fn is_constant(key: &str) -> bool {
    const CONSTANT: [&str; 11] = [
        "cloudflare.binding.type",
        "db.system",
        "db.system.name",
        "gen_ai.provider.name",
        "gen_ai.system",
        "messaging.system",
        "network.protocol.name",
        "network.transport",
        "network.type",
        "server.address",
        "server.port",
    ];
    CONSTANT.contains(&key)
}

/// What of a text fits into so many columns, with the sign that it goes on.
fn beginning(text: &str, columns: usize) -> String {
    let mut used = 1;
    let mut fits = |c: char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    let begin: String = text.chars().take_while(|c| fits(*c)).collect();
    begin + "…"
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
