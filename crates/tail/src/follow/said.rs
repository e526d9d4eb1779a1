//! What is said in a span, or goes wrong there, as lines.

use std::time::SystemTime;

use anstyle::Style;

use super::lines::{Key, MESSAGES, SpanLines, VALUES};
use crate::paint::{BAD, DIM};
use crate::{SpanChange, StatusCode, text};

/// Lines of a stack that are shown.
const STACK: usize = 32;

impl SpanLines {
    pub(super) fn update(&mut self, key: Key, change: &SpanChange, time: SystemTime) {
        match change {
            SpanChange::Name { name } => self.renamed(key, name, time),
            SpanChange::Status { status }
                if status.code == StatusCode::Error && self.failed != Some(key) =>
            {
                let message = status.message.as_deref().unwrap_or_default();
                let message = if message.is_empty() {
                    "failed"
                } else {
                    message
                };
                self.exception(key, None, message, time);
            }
            _ => {}
        }
    }

    /// `│ [warn] what was said`
    pub(super) fn said(
        &mut self,
        key: Key,
        (who, text): (&str, &str),
        style: Style,
        time: SystemTime,
    ) {
        let at = self.at(key, time);
        let mut line = self.line(&at, "│", DIM);
        let text = self.shortened(text, self.pick(MESSAGES));
        line.push(DIM, &format!("[{}] ", self.name(who)))
            .push(style, &text);
        self.out.push(line.finish());
    }

    /// `│     at Object.fetch (index.js:1:2)`, with every detail.
    pub(super) fn stack(&mut self, key: Key, stack: Option<&str>, time: SystemTime) {
        let lines = stack.filter(|_| self.style.verbose).into_iter();
        for frame in lines.flat_map(str::lines).take(STACK) {
            let at = self.at(key, time);
            let mut line = self.line(&at, "│", DIM);
            line.push(DIM, &self.shortened(frame, VALUES.0));
            self.out.push(line.finish());
        }
    }

    /// A text of so many characters at most.
    fn shortened(&self, text: &str, most: usize) -> String {
        let text = text::escape(text);
        match text.char_indices().nth(most) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text.into_owned(),
        }
    }

    /// `│ ✗ TypeError: there is no such thing`
    pub(super) fn exception(
        &mut self,
        key: Key,
        kind: Option<&str>,
        message: &str,
        time: SystemTime,
    ) {
        self.failed = Some(key);
        let at = self.at(key, time);
        let mut line = self.line(&at, "│", DIM);
        let shown = self.shortened(message, self.pick(MESSAGES));
        let kind = kind.map_or(String::new(), |kind| self.name(kind) + ": ");
        line.push(BAD, &format!("✗ {kind}{shown}"));
        self.out.push(line.finish());
    }
}
