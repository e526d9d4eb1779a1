//! How a tree looks. Lines are made one after another with a stack of our own, not by recursion: how
//! deep a tree is, is up to other processes.

use std::collections::HashSet;

use binding_span::wire::DROPPED_KEY;
use binding_span::{Attribute, AttributeValue};

use super::{Arranged, Key, Node, Tree, TreeStyle};
use crate::ERROR_TYPE;
use crate::paint::Paint;
use crate::text::{self, grouped, human_duration};

/// Attributes of a span that are shown unless verbose.
const FOLD: usize = 16;
/// Characters of a value that are shown; verbose shows more.
const VALUE: usize = 100;
const VALUE_VERBOSE: usize = 4096;
/// Characters of an error's message that are shown.
const MESSAGE: usize = 300;
/// Characters of a name or key that are shown.
const NAME: usize = 64;
const NAME_VERBOSE: usize = 256;
/// Keys are aligned up to this width; a longer one moves only its own value.
const ALIGN: usize = 40;
/// Levels that are indented; deeper ones stand at the same place, with their level.
const INDENTED: usize = 32;

pub(super) fn render(tree: &Tree, style: TreeStyle) -> String {
    let page = Page {
        tree,
        style,
        paint: Paint(style.colour),
    };
    page.render(&tree.arrange())
}

struct Page<'a> {
    tree: &'a Tree,
    style: TreeStyle,
    paint: Paint,
}

/// A span that is to be shown.
struct Line {
    key: Key,
    depth: usize,
    /// What stands before the children of its parent.
    indent: String,
    last: bool,
}

impl Page<'_> {
    fn render(&self, arranged: &Arranged) -> String {
        let mut out = String::new();
        let mut shown = HashSet::new();
        let mut one_line = true;
        for &root in &arranged.roots {
            let before = out.len();
            self.below(&mut out, &mut shown, root, arranged);
            let lines = out[before..].lines().count();
            // A span alone needs no room around it, a burst of them is a list.
            if before > 0 && lines > 0 && !(one_line && lines == 1) {
                out.insert(before, '\n');
            }
            if lines > 0 {
                one_line = lines == 1;
            }
        }
        self.footer(&mut out);
        out
    }

    /// Shows a span and what is below it.
    fn below(&self, out: &mut String, shown: &mut HashSet<Key>, root: Key, arranged: &Arranged) {
        let mut todo = vec![Line {
            key: root,
            depth: 0,
            indent: String::new(),
            last: true,
        }];
        while let Some(line) = todo.pop() {
            let Some(node) = self.tree.nodes.get(&line.key) else {
                continue;
            };
            if !shown.insert(line.key) {
                continue;
            }
            let below = arranged.below.get(&line.key).map_or(&[][..], Vec::as_slice);
            let indent = self.span(out, &line, node, !below.is_empty());
            for (i, &key) in below.iter().enumerate().rev() {
                todo.push(Line {
                    key,
                    depth: line.depth + 1,
                    indent: indent.clone(),
                    last: i + 1 == below.len(),
                });
            }
        }
    }

    /// Shows a span; what stands before its children.
    fn span(&self, out: &mut String, line: &Line, node: &Node, parent: bool) -> String {
        let (connector, indent) = match (line.depth, line.last) {
            (0, _) => (String::new(), String::new()),
            (depth, _) if depth > INDENTED => (
                format!("{}… level {depth} ", line.indent),
                line.indent.clone(),
            ),
            (_, true) => (format!("{}╰─", line.indent), format!("{}  ", line.indent)),
            (_, false) => (format!("{}├─", line.indent), format!("{}│ ", line.indent)),
        };
        self.push(out, &connector, &self.headline(node));
        let bar = if parent { "│ " } else { "  " };
        let inner = format!("{indent}{bar}  ");
        for detail in self.details(line.key, node) {
            self.push(out, &inner, &detail);
        }
        indent
    }

    fn push(&self, out: &mut String, frame: &str, text: &str) {
        if !frame.is_empty() {
            let blank = frame.bytes().all(|b| b == b' ');
            if blank {
                out.push_str(frame);
            } else {
                out.push_str(&self.paint.dim(frame));
            }
        }
        out.push_str(text);
        out.push('\n');
    }

    /// `● jsRpcSession → d1.query  3.1 ms  ok  [callee]`
    fn headline(&self, node: &Node) -> String {
        let paint = self.paint;
        let name = |text: &str| text::name(text, self.pick(NAME, NAME_VERBOSE));
        let bullet = match node.outcome.as_deref() {
            Some("ok") if node.failed.is_none() => paint.good("●"),
            Some(_) => paint.bad("●"),
            None => paint.warn("○"),
        };
        let names = if node.name == node.original_name {
            paint.name(name(&node.name))
        } else {
            let (old, new) = (name(&node.original_name), name(&node.name));
            format!(
                "{} {}",
                paint.dim(format_args!("{old} →")),
                paint.new_name(new)
            )
        };
        let outcome = match node.outcome.as_deref() {
            Some("ok") => paint.good("ok"),
            Some(outcome) => paint.bad(text::name(outcome, NAME)),
            None => paint.warn("unfinished"),
        };
        let mut line = format!("{bullet} {names}");
        if let Some(about) = &node.about {
            line += "  ";
            line += &text::name(about, self.pick(VALUE, VALUE_VERBOSE));
        }
        if let Some(duration) = node.duration() {
            line += "  ";
            line += &match duration.as_millis() {
                0 if node.coarse => "<1 ms".to_owned(),
                millis @ 1..1_000 if node.coarse => format!("{millis} ms"),
                _ => human_duration(duration),
            };
        }
        line += "  ";
        line += &outcome;
        if let Some(status) = node.http_status {
            line += &format!("  {status}");
        }
        if let Some(source) = node.source.and_then(|at| self.tree.sources.get(at)) {
            line += "  ";
            line += &paint.dim(format_args!("[{}]", text::name(source, NAME)));
        }
        line
    }

    fn details(&self, key: Key, node: &Node) -> Vec<String> {
        let mut lines = Vec::new();
        if self.style.verbose {
            let ids = format!("trace {} span {}", key.0, key.1);
            lines.push(self.paint.dim(ids));
        }
        if let Some(error) = &node.error {
            let kind = text::name(&error.kind, NAME);
            let message = self.message(&error.message);
            lines.push(self.paint.bad(format_args!("✗ {kind}: {message}")));
        } else if let Some(message) = &node.failed {
            let message = match &**message {
                "" => "failed",
                message => message,
            };
            let line = format!("✗ {}", self.message(message));
            lines.push(self.paint.bad(line));
        }
        self.attributes(node, &mut lines);
        for (who, said) in &node.said {
            let who = format!("[{}]", text::name(who, NAME));
            lines.push(format!("{} {}", self.paint.dim(who), self.message(said)));
        }
        if node.unsaid > 0 {
            let more = grouped(node.unsaid);
            lines.push(self.paint.dim(format_args!("… {more} more log lines")));
        }
        lines.extend(self.dropped(node));
        lines
    }

    /// A message, shortened.
    fn message(&self, message: &str) -> String {
        let shown = text::escape(message);
        match shown.char_indices().nth(self.pick(MESSAGE, VALUE_VERBOSE)) {
            Some((at, _)) => {
                let bytes = grouped(message.len() as u64);
                format!("{}… ({bytes} bytes)", &shown[..at])
            }
            None => shown.into_owned(),
        }
    }

    fn attributes(&self, node: &Node, lines: &mut Vec<String>) {
        let max = self.pick(NAME, NAME_VERBOSE);
        let told: Vec<(String, &AttributeValue)> = node
            .attributes
            .iter()
            .filter(|a| !self.told_elsewhere(node, a))
            .map(|a| (text::name(&a.key, max), &a.value))
            .collect();
        // Folding one line would only replace it by another.
        let shown = if told.len() > self.pick(FOLD + 1, usize::MAX) {
            FOLD
        } else {
            told.len()
        };
        let widths = told[..shown].iter().map(|(key, _)| key.chars().count());
        let width = widths.filter(|&width| width <= ALIGN).max().unwrap_or(0);
        for (key, value) in &told[..shown] {
            let pad = width.saturating_sub(key.chars().count());
            let (key, value) = (self.paint.key(key), self.value(value));
            lines.push(format!("{key}{:pad$} {} {value}", "", self.paint.dim("=")));
        }
        if shown < told.len() {
            let more = grouped((told.len() - shown) as u64);
            lines.push(self.paint.dim(format_args!("… {more} more attributes")));
        }
    }

    fn told_elsewhere(&self, node: &Node, attribute: &Attribute) -> bool {
        let error = node.error.as_ref().map(|error| error.kind.as_str());
        let repeats = attribute.key == ERROR_TYPE && attribute.value.as_str() == error;
        attribute.key == DROPPED_KEY || (repeats && error.is_some() && !self.style.verbose)
    }

    fn value(&self, value: &AttributeValue) -> String {
        let shown = text::value(value, self.pick(VALUE, VALUE_VERBOSE));
        self.paint.value(value, shown)
    }

    /// `⚠ enrichment dropped: denied_key 2, key_too_long 1`
    fn dropped(&self, node: &Node) -> Option<String> {
        let reported = node.attributes.iter().find(|a| a.key == DROPPED_KEY);
        let reported = match reported.map(|a| &a.value) {
            Some(&AttributeValue::Int64(count)) => u64::try_from(count).unwrap_or(0),
            _ => 0,
        };
        let total = node.dropped.total().max(reported);
        if total == 0 {
            return None;
        }
        let reasons = node.dropped.iter();
        let reasons: Vec<String> = reasons
            .map(|(reason, count)| format!("{reason} {}", grouped(count.into())))
            .collect();
        let reasons = match reasons.len() {
            0 => grouped(total),
            _ => reasons.join(", "),
        };
        let line = format!("⚠ enrichment dropped: {reasons}");
        Some(self.paint.warn(line))
    }

    fn footer(&self, out: &mut String) {
        let notes = [
            (self.tree.overflow, "more spans, too many to show"),
            (
                self.tree.lost_events,
                "tail events were lost: spans may be incomplete",
            ),
        ];
        for (count, what) in notes {
            if count > 0 {
                let note = format!("⚠ {} {what}", grouped(count));
                self.push(out, "", &self.paint.warn(note));
            }
        }
    }

    fn pick<T>(&self, short: T, verbose: T) -> T {
        if self.style.verbose { verbose } else { short }
    }
}
