//! The colours of what people see. What they say, words say as well.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use binding_span::{AttributeList, AttributeValue};

pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const NAME: Style = Style::new().bold();
pub(crate) const NEW_NAME: Style = AnsiColor::BrightCyan.on_default().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const KEY: Style = AnsiColor::Blue.on_default();

/// The style of a value.
pub(crate) fn value(of: &AttributeValue) -> Style {
    let colour = match of {
        AttributeValue::String(_) => AnsiColor::Green,
        AttributeValue::Bool(_) => AnsiColor::Magenta,
        AttributeValue::Int64(_) | AttributeValue::Float64(_) => AnsiColor::Yellow,
        AttributeValue::List(list) => match **list {
            AttributeList::Strings(_) => AnsiColor::Green,
            AttributeList::Bools(_) => AnsiColor::Magenta,
            AttributeList::Int64s(_) | AttributeList::Float64s(_) => AnsiColor::Yellow,
        },
    };
    colour.on_default()
}

/// Paints, or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn with(self, style: Style, text: impl Display) -> String {
        if self.0 {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.with(DIM, text)
    }

    pub(crate) fn name(self, text: impl Display) -> String {
        self.with(NAME, text)
    }

    pub(crate) fn new_name(self, text: impl Display) -> String {
        self.with(NEW_NAME, text)
    }

    pub(crate) fn good(self, text: impl Display) -> String {
        self.with(GOOD, text)
    }

    pub(crate) fn bad(self, text: impl Display) -> String {
        self.with(BAD, text)
    }

    pub(crate) fn warn(self, text: impl Display) -> String {
        self.with(WARN, text)
    }

    pub(crate) fn key(self, text: impl Display) -> String {
        self.with(KEY, text)
    }

    pub(crate) fn value(self, of: &AttributeValue, text: impl Display) -> String {
        self.with(value(of), text)
    }
}
