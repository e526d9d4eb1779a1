//! Spans as a tree for people: collecting them, from several sources, and who is below whom.
//!
//! How it looks is in `tree/render.rs`, what an event does to a node in `tree/collect.rs`.

mod collect;
mod render;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::time::{Duration, SystemTime};

use binding_span::{Attribute, Dropped, InvocationId, SpanId, TraceId};

use crate::{Event, FinishedSpan, MAX_LINE, SpanError};

/// Spans that a tree holds; more are counted, not shown.
const MAX_SPANS: usize = 100_000;

/// A span in the tree: spans of different processes meet by trace and parent.
type Key = (TraceId, SpanId);
/// An invocation of a source.
type Stream = (usize, InvocationId);

/// Spans of one or several processes, to be shown to people.
///
/// Spans come from a [`Recorder`](crate::Recorder), from [`Event`]s, or from the JSON lines of another
/// process; those are marked with the name of their source. A span whose parent is known, whatever
/// process it comes from, stands below it; siblings are in the order in which they began, by the
/// clocks of their own processes.
///
/// ```
/// # let recorder = tail::Recorder::new();
/// # let callee_tail: &[u8] = b"";
/// use tail::{Tree, TreeStyle};
///
/// let mut tree: Tree = recorder.spans().iter().collect();
/// tree.add_lines("callee", callee_tail).unwrap();
/// eprint!("{}", tree.render(TreeStyle::coloured()));
/// ```
#[derive(Debug, Default)]
pub struct Tree {
    nodes: HashMap<Key, Node>,
    sources: Vec<String>,
    /// The span of each onset, if the onset is what made it known.
    streams: HashMap<Stream, Key>,
    /// Spans that came when there were too many.
    overflow: u64,
    /// Bytes of log lines that are kept.
    said: usize,
    /// Events that a source said it lost.
    lost_events: u64,
}

/// How a tree looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TreeStyle {
    /// With ANSI colours. Nothing is told by colour alone.
    pub colour: bool,
    /// Every attribute, longer values, trace and span ids.
    pub verbose: bool,
}

impl TreeStyle {
    /// No colours; long values shortened, many attributes folded.
    pub const fn plain() -> Self {
        Self {
            colour: false,
            verbose: false,
        }
    }

    /// The same with ANSI colours.
    pub const fn coloured() -> Self {
        Self {
            colour: true,
            verbose: false,
        }
    }

    /// The same with every detail, or not.
    #[must_use]
    pub const fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }
}

/// What was found in JSON lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinesRead {
    /// Lines that were events.
    pub events: u64,
    /// Lines that were not, or were longer than [`MAX_LINE`].
    pub skipped: u64,
}

#[derive(Debug, Clone)]
struct Node {
    parent: Option<SpanId>,
    /// Index into `Tree::sources`; `None`: this process.
    source: Option<usize>,
    /// The stream that opened it.
    stream: Option<Stream>,
    name: Cow<'static, str>,
    original_name: Cow<'static, str>,
    attributes: Vec<Attribute>,
    outcome: Option<Cow<'static, str>>,
    /// What it is for, beyond its name.
    about: Option<String>,
    /// The HTTP status that it returned.
    http_status: Option<u16>,
    /// What its status says if that is an error.
    failed: Option<String>,
    /// Lines of logs and the like: who says them, and what.
    said: Vec<(String, String)>,
    /// How many there are more.
    unsaid: u64,
    error: Option<SpanError>,
    dropped: Dropped,
    start: SystemTime,
    end: Option<SystemTime>,
    /// Times are of whole milliseconds.
    coarse: bool,
    /// An onset without a caller: it may stand for a span, or only in front of others.
    anchor: bool,
    /// An onset that a span was opened below.
    fronts: bool,
    /// Everything about it is known.
    finished: bool,
    /// In which order nodes came; settles equal times.
    order: usize,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a span of this process. It replaces what events said about the same span.
    pub fn add_span(&mut self, span: &FinishedSpan) {
        let key = (span.context.trace_id, span.context.span_id);
        let node = Node {
            parent: span.parent,
            source: None,
            stream: None,
            name: span.name.clone().into(),
            original_name: span.original_name.clone().into(),
            attributes: span.attributes.clone(),
            outcome: Some(span.outcome.label().into()),
            about: None,
            http_status: None,
            failed: None,
            said: Vec::new(),
            unsaid: 0,
            error: span.error.clone(),
            dropped: span.dropped,
            start: span.start,
            end: Some(span.end),
            coarse: false,
            anchor: false,
            fronts: false,
            finished: true,
            order: self.nodes.len(),
        };
        if self.nodes.len() < MAX_SPANS || self.nodes.contains_key(&key) {
            self.nodes.insert(key, node);
        } else {
            self.overflow += 1;
        }
    }

    /// Adds an event of the process `source`, a short name such as `callee`.
    pub fn add_event(&mut self, source: &str, event: &Event) {
        let source = self.source(source);
        self.collect(source, event);
    }

    /// Adds the tail events in JSON lines that the process `source` wrote. Lines that are not tail
    /// events, among them one that is not complete yet, are skipped.
    ///
    /// # Errors
    /// When reading fails; what was read before stays.
    pub fn add_lines(&mut self, source: &str, mut lines: impl BufRead) -> io::Result<LinesRead> {
        let source = self.source(source);
        let (mut found, mut line) = (LinesRead::default(), Vec::new());
        loop {
            line.clear();
            let most = MAX_LINE as u64 + 1;
            if lines.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                return Ok(found);
            }
            if line.len() > MAX_LINE && line.last() != Some(&b'\n') {
                skip_line(&mut lines)?;
                found.skipped += 1;
                continue;
            }
            let line = line.trim_ascii();
            match std::str::from_utf8(line).map(Event::from_line) {
                Ok(Ok(event)) => {
                    self.collect(source, &event);
                    found.events += 1;
                }
                _ if line.is_empty() => {}
                _ => found.skipped += 1,
            }
        }
    }

    fn source(&mut self, name: &str) -> usize {
        let known = self.sources.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.sources.push(name.to_owned());
            self.sources.len() - 1
        })
    }

    /// The tree as text that ends with a newline, or the empty text if there are no spans.
    pub fn render(&self, style: TreeStyle) -> String {
        render::render(self, style)
    }

    /// Who stands below whom; roots and children by their beginning.
    fn arrange(&self) -> Arranged {
        let mut keys: Vec<(&Key, &Node)> = self.nodes.iter().collect();
        keys.sort_by_key(|(_, node)| (node.start, node.order));
        let mut below: HashMap<Key, Vec<Key>> = HashMap::new();
        for &(&(trace, span), node) in &keys {
            if let Some(parent) = node.parent.filter(|&parent| parent != span) {
                let siblings = below.entry((trace, parent)).or_default();
                siblings.push((trace, span));
            }
        }
        // An onset that only stands in front of spans is not one.
        let shown = |key: &Key| {
            let node = self.nodes.get(key);
            node.is_some_and(|node| !(node.anchor && (node.fronts || below.contains_key(key))))
        };
        let (mut roots, mut others) = (Vec::new(), Vec::new());
        for (key, node) in keys {
            let parent = node.parent.map(|parent| (key.0, parent));
            let child = parent.is_some_and(|parent| parent != *key && shown(&parent));
            match (shown(key), child) {
                (false, _) => {}
                (true, true) => others.push(*key),
                (true, false) => roots.push(*key),
            }
        }
        // Spans in a circle of parents, which only a broken source reports, are below no root.
        roots.append(&mut others);
        Arranged { roots, below }
    }
}

/// Who stands where.
struct Arranged {
    /// Where to begin: the roots, then every other span in case that no root leads there.
    roots: Vec<Key>,
    below: HashMap<Key, Vec<Key>>,
}

impl Node {
    fn duration(&self) -> Option<Duration> {
        Some(self.end?.duration_since(self.start).unwrap_or_default())
    }
}

fn skip_line(lines: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = lines.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&b| b == b'\n');
        let n = end.map_or(buffer.len(), |at| at + 1);
        lines.consume(n);
        if end.is_some() {
            return Ok(());
        }
    }
}

impl<'a> FromIterator<&'a FinishedSpan> for Tree {
    fn from_iter<I: IntoIterator<Item = &'a FinishedSpan>>(spans: I) -> Self {
        let mut tree = Self::new();
        spans.into_iter().for_each(|span| tree.add_span(span));
        tree
    }
}
