//! The colours of the tree. What they say, words say as well.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use binding_span::AttributeValue;

/// Paints, or not.
#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    fn with(self, style: Style, text: impl Display) -> String {
        if self.0 {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }

    pub(super) fn dim(self, text: impl Display) -> String {
        self.with(Style::new().dimmed(), text)
    }

    pub(super) fn name(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(super) fn new_name(self, text: impl Display) -> String {
        self.with(AnsiColor::BrightCyan.on_default().bold(), text)
    }

    pub(super) fn good(self, text: impl Display) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub(super) fn bad(self, text: impl Display) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    pub(super) fn warn(self, text: impl Display) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    pub(super) fn key(self, text: impl Display) -> String {
        self.with(AnsiColor::Blue.on_default(), text)
    }

    pub(super) fn value(self, of: &AttributeValue, text: impl Display) -> String {
        let colour = match of {
            AttributeValue::String(_) => AnsiColor::Green,
            AttributeValue::Bool(_) => AnsiColor::Magenta,
            AttributeValue::Int64(_) | AttributeValue::Float64(_) => AnsiColor::Yellow,
        };
        self.with(colour.on_default(), text)
    }
}
